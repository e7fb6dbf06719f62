"""A worker and a node of a cluster that share no file system: what they tell each other passes through the storage of
ASSAY_STORAGE. Each side keeps a run directory of its own, and a relay copies between that and the storage:

    inputs/000012-1a2b…          worker -> node   an artefact: config, the worker's own rows, what else is to be brought
    runs/000012                  node -> all      the run's artefact, put by the node at each checkpoint and at the end
    nodes/000012-1a2b…/          the messages of one run, small objects:
        order-3.json             worker -> node   how attempt 3 is to be carried out
        in-3.json                worker -> node   the heartbeat, sealed keys, and what people said meanwhile
        over-3.json              worker -> node   that another attempt has begun: written once, never overwritten
        out-3.json               node -> worker   the report, how far its files have grown, and in the end how it ended
        part/3/metrics.jsonl/…   node -> worker   what was appended to a file, piece by piece

So `node_files`, and all that reads and writes them, is the same with a shared folder and without. Pure: no Django.
"""
