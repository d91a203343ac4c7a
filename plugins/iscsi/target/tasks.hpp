// SPDX-License-Identifier: Apache-2.0
// Work outside of calls: copies that take long, the trash, and the targets of a daemon that forgot
// them.
#pragma once

#include "plugins/iscsi/target/context.hpp"

namespace gantry::iscsi::target {

plugin::Result<Progress> Run(const Context& context, const RunTask& request, Deadline deadline);
// One look: `done` targets were made or completed, or removed since no record wants them. Of all
// owners: it is the machine's business.
plugin::Result<Progress> RebuildOnce(const Context& context, Deadline deadline);

}  // namespace gantry::iscsi::target
