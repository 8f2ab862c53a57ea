"""Commands while the machine fails them: killed, without disk, memory, files, cores, a folder or a reader."""
