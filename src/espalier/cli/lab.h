// Opens the laboratory for the verbs that need it.
#pragma once

#include "espalier/lab/api.h"

namespace espalier {

// Opened once: $ESPALIER_LAB, else libespalier-lab.so in ../lib beside the program, else by the loader's own search.
// UserError when there is none.
LabApi& lab();

}  // namespace espalier
