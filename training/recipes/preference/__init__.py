"""Train by DPO and KTO: a policy learns from annotations directly, in a loop of our own."""
