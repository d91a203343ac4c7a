// SPDX-License-Identifier: Apache-2.0
// What is done by libcephfs, none of whose calls has a deadline: in throw-away processes (gantry.job/1),
// each with a mount of its own.
#include <chrono>
#include <utility>

#include "plugins/cephfs/backend/backend.hpp"
#include "plugins/cephfs/cluster/put_back.hpp"

namespace gantry::cephfs {
namespace {

namespace code = plugin::code;
using plugin::Fail;
using plugin::Result;

// `failed`: that it did not go well, to people.
template <class Request>
Result<std::string> RunInJob(Call& call, std::string_view job, Request request,
                             const std::string& failed, TimePoint deadline) {
  const SecretText input(Encode(request));
  const SecretText wiped(std::move(request.as.key));
  auto outcome = gantry::RunJob(call.host(), call.id(), job, input.text(),
                                std::chrono::nanoseconds(deadline.time_since_epoch()).count());
  if (outcome.code == GANTRY_OK) return std::move(outcome.output);
  return Fail(outcome.code == GANTRY_DEADLINE_EXCEEDED ? code::kUnavailable : outcome.code, failed);
}

Status RunLook(Job& job) {
  const auto request = DecodeLookRequest(job.input());
  if (!request) return ToStatus(request.error());
  const auto look = LookAt(*request);
  if (!look) return ToStatus(look.error());
  job.Write(Encode(*look));
  return Ok();
}

Status RunEvict(Job& job) {
  const auto request = DecodeEvictRequest(job.input());
  if (!request) return ToStatus(request.error());
  const auto addresses = EvictSessions(*request);
  if (!addresses) return ToStatus(addresses.error());
  job.Write(EncodeAddresses(*addresses));
  return Ok();
}

Status RunPutBack(Job& job) {
  const auto request = DecodePutBackRequest(job.input());
  if (!request) return ToStatus(request.error());
  const auto done = PutBack(*request);
  return done ? Ok() : ToStatus(done.error());
}

}  // namespace

Result<Look> CephfsBackend::LookInJob(Call& call, const std::string& path,
                                      const std::string& snapshot, TimePoint deadline) const {
  GANTRY_PLUGIN_TRY_ASSIGN(auto as, cluster_->Identity(deadline));
  GANTRY_PLUGIN_TRY_ASSIGN(
      const std::string output,
      RunInJob(call, kLookJob, LookRequest{std::move(as), path, snapshot},
               path + " of " + config_.fs_name + " could not be looked at", deadline));
  return DecodeLook(output);
}

Filesystem CephfsBackend::FilesystemFor(Call& call) const {
  return {[this, &call](const std::string& directory, const std::string& snapshot,
                        TimePoint deadline) -> Result<std::optional<int64_t>> {
            GANTRY_PLUGIN_TRY_ASSIGN(const auto look,
                                     LookInJob(call, directory, snapshot, deadline));
            return look.snapshot_cut_ns;
          },
          [this, &call](const std::string& path, TimePoint deadline) -> plugin::Status {
            GANTRY_PLUGIN_TRY_ASSIGN(auto as, cluster_->Identity(deadline));
            GANTRY_PLUGIN_TRY(RunInJob(call, kPutBackJob, PutBackRequest{std::move(as), path},
                                       path + " could not be put back", deadline));
            return {};
          }};
}

Status CephfsBackend::RunJob(Job& job) {
  if (job.name() == kLookJob) return RunLook(job);
  if (job.name() == kEvictJob) return RunEvict(job);
  if (job.name() == kPutBackJob) return RunPutBack(job);
  return Refuse(code::kNotFound, "there is no job " + std::string(job.name()));
}

}  // namespace gantry::cephfs
