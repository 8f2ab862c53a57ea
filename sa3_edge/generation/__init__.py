"""A request to audio: what every host, in any language, computes. The files are the headings of runtimes/README.md."""
