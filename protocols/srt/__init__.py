"""SRT, the Internet-Draft draft-sharabayko-srt as libsrt 1.5 speaks it."""
