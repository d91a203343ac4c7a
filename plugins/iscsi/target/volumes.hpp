// SPDX-License-Identifier: Apache-2.0
// Volumes and snapshots: made, found, grown, deleted. A volume without content is its record alone
// until a node gets it: nobody ever had it, so it is blank, whatever is or is not in the store.
#pragma once

#include "plugins/iscsi/target/context.hpp"

namespace gantry::iscsi::target {

plugin::Result<CreatedVolume> Create(const Context& context, const Call& call,
                                     const CreateVolume& request, Deadline deadline);
plugin::Result<Volume> Get(const Context& context, const Call& call, const GetVolume& request);
plugin::Result<VolumePage> List(const Context& context, const Call& call,
                                const ListVolumes& request);
plugin::Result<Deleted> Delete(const Context& context, const Call& call,
                               const DeleteVolume& request, Deadline deadline);
plugin::Result<Volume> Expand(const Context& context, const Call& call, const ExpandVolume& request,
                              Deadline deadline);
plugin::Result<Volume> Modify(const Context& context, const Call& call, const ModifyVolume& request,
                              Deadline deadline);

plugin::Result<CreatedSnapshot> Create(const Context& context, const Call& call,
                                       const CreateSnapshot& request, Deadline deadline);
plugin::Result<Snapshot> Get(const Context& context, const Call& call, const GetSnapshot& request);
plugin::Result<SnapshotPage> List(const Context& context, const Call& call,
                                  const ListSnapshots& request);
plugin::Result<Deleted> Delete(const Context& context, const Call& call,
                               const DeleteSnapshot& request, Deadline deadline);

}  // namespace gantry::iscsi::target
