// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/cluster/put_back.hpp"

#include <algorithm>

namespace gantry::cephfs {

using nlohmann::json;
using plugin::Fail;
using plugin::Result;
using plugin::Status;
namespace code = plugin::code;

std::string Encode(const PutBackRequest& request) {
  json object = {{"path", request.path}};
  AddIdentity(request.as, &object);
  return object.dump();
}

Result<PutBackRequest> DecodePutBackRequest(std::string_view text) {
  GANTRY_PLUGIN_TRY_ASSIGN(const json object, ParseJobInput(text));
  PutBackRequest request{IdentityFrom(object), object.value("path", "")};
  if (!TrashedFrom(request.path))
    return Fail(code::kInvalidArgument, "the job's path is \"" + request.path +
                                            "\"; expected that of a subvolume's directory");
  return request;
}

std::optional<Trashed> TrashedFrom(const std::string& path) {
  constexpr int kParts = 4;
  if (std::count(path.begin(), path.end(), '/') != kParts || path.front() != '/' ||
      path.back() == '/' || path.find("//") != std::string::npos ||
      path.find("/.") != std::string::npos)
    return std::nullopt;
  const size_t name = path.rfind('/');
  return Trashed{path.substr(0, name) + "/.trash" + path.substr(name),
                 path.substr(0, path.find('/', 1)) + "/_deleting" + path.substr(name)};
}

// The link first: nothing is to be purged from now on.
Status PutBack(const PutBackRequest& request) {
  const auto trashed = TrashedFrom(request.path);
  ThrowawayClient client;
  GANTRY_PLUGIN_TRY(client.Open(request.as));
  GANTRY_PLUGIN_TRY(client.Mount("/"));
  Status done = client.Unlink(trashed->link);
  if (done) done = client.Rename(trashed->directory, request.path);
  if (done) done = client.MakeDirectory(request.path);
  client.Unmount();
  return done;
}

}  // namespace gantry::cephfs
