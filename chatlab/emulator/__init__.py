"""AWS on one machine: MiniStack, an emulator, and around it what AWS has and MiniStack does not.

`chatlab.local_cloud` starts `local_server`, the local cloud, and `chatlab.rehearsal` starts `aws_server`. Both serve
`cloud`, which puts all other modules together. `traits` is what AWS does and an emulator does not.

This package imports nothing else of the lab, and it is started by its folder, not with `python -m chatlab.emulator`:
that would import `chatlab` first, and with it boto3 and pandas. The local cloud, which answers after 0.4 s, would take
a second, and twice the memory. See `__main__`.
"""
