// SPDX-License-Identifier: Apache-2.0
// What the programs have in common that gantryd runs for this backend, by a grant or over SSH: they
// are root, are told secrets, and speak in lines.
#pragma once

#include <string>

namespace gantry::iscsi::target {

// No core, nobody's memory to read, no SIGPIPE, and files for their owner alone. Before any thread.
void KeepToYourself();

// To stdout, with a newline; false: nobody reads it.
bool WriteLine(std::string text);

}  // namespace gantry::iscsi::target
