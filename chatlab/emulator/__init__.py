"""AWS on one machine: MiniStack, an emulator, and around it what AWS has and MiniStack does not.

`server` puts all other modules together. `chatlab.local_cloud` starts it as the local cloud, and `rehearsal` as AWS.

Only `rehearsal` imports boto3 or pandas. With them the local cloud, which answers after 0.4 s, would take a second, and
twice the memory.
"""
