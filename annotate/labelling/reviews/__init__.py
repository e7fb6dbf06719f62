"""Give a share of what one person annotated a second look by a reviewer, who does not see the first."""
