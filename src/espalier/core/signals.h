// Ctrl-C, SIGTERM, a closed pipe, a file truncated under a map.
#pragma once

#include <string>

namespace espalier {

// SIGINT and SIGTERM ask the run to stop at its next safe point; a second one ends the process at once (exit 130).
// SIGPIPE is ignored: a write reports EPIPE instead. SIGBUS on a mapped file (somebody truncated it, or the disk
// failed) ends the process with one line that names the file, exit 2.
void install_signal_handlers();

// Every long loop calls this at its safe points; throws Interrupted, whose text says how to resume.
void check_interrupted();
bool interrupted();

// What Interrupted says after "interrupted: ", e.g. "run the same command with --resume to go on"; "" for none.
// RunDirectory sets and clears it.
void set_resume_hint(std::string hint);

}  // namespace espalier
