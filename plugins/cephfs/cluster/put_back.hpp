// SPDX-License-Identifier: Apache-2.0
// Undoes half a removal. To remove a subvolume and keep its snapshots, the manager's module moves its
// directory into a trash within the subvolume, puts a link to that among what is to be purged, and then
// writes down that it did: which it cannot where the pool is full, and does not when it dies between the
// two. From then on it says of the subvolume, and of all of its snapshots, that they are not there.
// Runs in a throw-away process (gantry.job/1).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "plugins/cephfs/cluster/throwaway_client.hpp"
#include "plugins/common/result.hpp"

namespace gantry::cephfs {

inline constexpr std::string_view kPutBackJob = "put-back";

struct PutBackRequest {
  ClientIdentity as;
  std::string path;  // of the directory: "/<prefix>/<group>/<subvolume>/<uuid>"
};
std::string Encode(const PutBackRequest& request);
plugin::Result<PutBackRequest> DecodePutBackRequest(std::string_view json);

// Where the module has put it, and the link to that.
struct Trashed {
  std::string directory;
  std::string link;
};
// None: the path is none of a subvolume's directory.
std::optional<Trashed> TrashedFrom(const std::string& path);

// Blocks for as long as it takes. Afterwards the directory is there: with what was in it, or, when that
// has been purged already, empty. One that was there is left as it is.
plugin::Status PutBack(const PutBackRequest& request);

}  // namespace gantry::cephfs
