// SPDX-License-Identifier: Apache-2.0
// Who has a volume. The record says so before the target does, and the target is closed before the
// record forgets: whatever dies in between, a node that may still write is in the record.
#pragma once

#include "plugins/iscsi/target/context.hpp"

namespace gantry::iscsi::target {

plugin::Result<Volume> Publish(const Context& context, const Call& call,
                               const PublishVolume& request, Deadline deadline);
plugin::Result<Empty> Unpublish(const Context& context, const Call& call,
                                const UnpublishVolume& request, Deadline deadline);

// The publication's secret.
plugin::Result<Chap> OpenChap(const Context& context, const Record& record,
                              const RecordedPublication& publication);

}  // namespace gantry::iscsi::target
