// SPDX-License-Identifier: Apache-2.0
// The content of a clone, a restored volume or a snapshot. Where the file system can share blocks it
// is there at once (FICLONE writes out what is dirty first, so it has all that the target had
// acknowledged). Elsewhere the data is copied piece by piece, holes left out, and each piece that is
// on disk is noted in the record, so that a death costs one piece at most.
//
// A piecewise copy of a file that somebody writes to would be a state the volume never had, and
// nothing can hold the writes of a target's initiators back for minutes. So it is refused while a
// node has the source for writing, and a copy whose source was given out for writing meanwhile (the
// record counts that) begins anew. What this cannot see are writes by others than the target's nodes.
//
// Rejected: comparing mtimes (tgtd may write after they were read, and LIO writes through a loop
// device that does not touch them), and a lock that would keep a pod from starting while it is held.
#pragma once

#include "plugins/iscsi/target/context.hpp"

namespace gantry::iscsi::target {

// Refuses a source that cannot be copied from now: FAILED_PRECONDITION.
plugin::Status CheckSource(const Context& context, const Record& source);

// Works on a record that is kCopying until it is ready, or the deadline. Finished too when there is
// nothing to copy any more. NOT_FOUND: the source is gone, and so is the record now.
// FAILED_PRECONDITION: see above; the record stays.
plugin::Result<Progress> RunCopy(const Context& context, RecordKind kind, const std::string& handle,
                                 Deadline deadline);

}  // namespace gantry::iscsi::target
