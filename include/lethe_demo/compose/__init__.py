"""Runs what docker-compose.yaml says without Docker: each service as a process on a machine of its own.

`file` reads the YAML as Compose does, `network` has the machines, `images` what stands in for an image, `containers` a
service's process, and `stack` all of them: started in the order that the file says, watched, killed, started again.
"""
