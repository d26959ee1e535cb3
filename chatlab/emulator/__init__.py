"""The process that is the local cloud: MiniStack behind a guard. `chatlab.local_cloud` starts and stops it."""
