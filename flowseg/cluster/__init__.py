"""Independent pieces of work on a Ray cluster, each a command of flowseg.

`connection.py` connects to a cluster, `folder.py` is the folder that the pieces share, `worker.py` is what runs on a
node, `pieces.py` starts the pieces and starts those again that are lost, `display.py` shows how far they are. Nothing
here knows what a piece does. Ray is imported only where a cluster is asked for.
"""
