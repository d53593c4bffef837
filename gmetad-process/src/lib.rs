//! What a daemon does and a library must not: command line, fork, user, pid file, log, signals
