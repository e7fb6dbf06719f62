"""One attempt on several nodes of a Ray cluster: who places it (`placed`), and one node's part (`member`). Each part
has a folder of its own, RUN_DIR/node/member-0, with the files that `node_files` names. Nodes share the run directory,
or each has its own and `relays` pass on what the others need."""
