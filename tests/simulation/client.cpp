// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/client.hpp"

#include <algorithm>

#include "tests/simulation/worker.hpp"

namespace gantry::simulation {
namespace {

using namespace std::chrono_literals;
using base::Code;

// What an answer may take beyond the caller's deadline.
constexpr auto kGrace = 1s;
// Nothing of a call is committed after its deadline, which is at most this.
constexpr auto kDeadlineMax = 30s;
// A volume's life goes on in the end, however bad it was.
constexpr auto kPatience = 30min;
// A backend that nobody disturbs answers in this time, whatever happens to others.
constexpr auto kCalmMax = 1500ms;
// So long without a death, and the next restart is at once again.
constexpr auto kSettled = 180s;
constexpr const char* kCalmBackend = "calm";
constexpr const char* kWildBackend = "wild";

std::string HandleOf(const std::string& id) { return id.substr(id.find(':') + 1); }

csi::v1::VolumeCapability Capability() {
  csi::v1::VolumeCapability capability;
  capability.mutable_mount();
  capability.mutable_access_mode()->set_mode(
      csi::v1::VolumeCapability::AccessMode::MULTI_NODE_MULTI_WRITER);
  return capability;
}

}  // namespace

void Client::CheckFailure(const std::string& backend, const std::string& what,
                          const base::Error& error, base::TimePoint since, base::TimePoint deadline,
                          const Gantryd& gantryd, bool was_cancelled) {
  auto& simulation = world_.simulation;
  const auto unexpected = [&](const std::string& why) {
    simulation.Fail(name_ + ": " + what + ": " + base::CodeName(error.code) + " " + error.message +
                    ": " + why);
  };
  switch (error.code) {
    case Code::kAborted:
    case Code::kNotFound:
      return;
    case Code::kCancelled:
      if (!was_cancelled) unexpected("nobody cancelled it");
      return;
    case Code::kDeadlineExceeded:
      if (backend == kCalmBackend) unexpected("nothing disturbed that backend");
      return;
    case Code::kUnavailable:
      break;
    default:
      unexpected("a CO would take it as final");
  }
  if (backend == kCalmBackend && gantryd.serving_since() < since)
    unexpected("nothing disturbed that backend");
  if (error.message.find(kRefusal) != std::string::npos) return;
  const auto says = [&](const char* text) { return error.message.find(text) != std::string::npos; };
  if (!says("no worker that answers") && !says("the worker died") && !says("killed its workers"))
    unexpected("neither the plugin nor the lack of a worker is the reason");
  // It waited for a worker as long as it could.
  if (was_cancelled || simulation.now() >= deadline) return;
  const auto settled = std::max(since - kSettled, gantryd.serving_since());
  if (gantryd.serving_since() < since &&
      world_.DeathsSince(cluster_.name(node_), backend, settled) <= 1)
    unexpected("one death at most, and the call was not replayed");
}

template <class Response>
std::optional<base::Result<Response>> Client::Once(const std::string& backend,
                                                   const std::string& what,
                                                   const Call<Response>& call) {
  auto& simulation = world_.simulation;
  auto* gantryd = cluster_.At(node_);
  if (gantryd == nullptr) return std::nullopt;
  const auto time = simulation.OneIn(3) ? world_.Between(2s, 5s) : world_.Between(5s, kDeadlineMax);
  begun_ = simulation.now();
  auto cancel = std::make_shared<core::CancelFlag>();
  auto is_cancelled = std::make_shared<bool>(false);
  if (simulation.OneIn(16))
    simulation.Start(
        [this, cancel, is_cancelled, at = world_.Between(0us, 20ms)] {
          world_.simulation.Sleep(at);
          *is_cancelled = true;
          cancel->Cancel();
        },
        name_ + " cancels");
  core::CallContext context{begun_ + time, cancel.get()};
  ++tally_.calls;
  if (simulation.tracing()) simulation.Trace(name_ + " calls " + what);
  auto answer = gantryd->Ask<Response>(
      [call, context, cancel](const core::Controller& at) { return call(at, context); });
  if (simulation.tracing())
    simulation.Trace(
        name_ + " has from " + what + ": " +
        (!answer   ? "nothing"
         : *answer ? "OK"
                   : base::CodeName(answer->error().code) + (" " + answer->error().message)));
  const auto took = simulation.now() - begun_;
  if (took > time + kGrace)
    simulation.Fail(name_ + ": " + what + " was answered " +
                    std::to_string(std::chrono::duration<double>(took - time).count()) +
                    " s after its deadline");
  if (!answer) return std::nullopt;
  if (backend == kCalmBackend) {
    tally_.longest_calm = std::max(tally_.longest_calm, took);
    if (took > kCalmMax && gantryd->serving_since() < begun_ && gantryd->serves() &&
        world_.DeathsSince(cluster_.name(node_), backend, begun_) == 0)
      simulation.Fail(name_ + ": " + what + " took " +
                      std::to_string(std::chrono::duration<double>(took).count()) +
                      " s at a backend that nobody disturbed");
  }
  if (!*answer) {
    ++tally_.failed_calls;
    // One that stops in order answers nobody's call with its own end; it waits for them.
    if (gantryd->serves())
      CheckFailure(backend, what, answer->error(), begun_, context.deadline, *gantryd,
                   *is_cancelled);
  }
  return answer;
}

template <class Response>
base::Result<Response> Client::Persist(const std::string& backend, const std::string& what,
                                       const Call<Response>& call, Code allowed) {
  auto& simulation = world_.simulation;
  const auto patience = simulation.now() + kPatience;
  for (;;) {
    const auto answer = Once<Response>(backend, what, call);
    if (answer && (*answer || answer->error().code == allowed)) return *answer;
    if (answer && answer->error().code == Code::kNotFound)
      simulation.Fail(name_ + ": " + what + ": " + answer->error().message);
    if (simulation.now() > patience) simulation.Fail(name_ + ": " + what + " never succeeds");
    simulation.Sleep(world_.Between(50ms, 2s));
    // Another controller takes over only when the first one's calls are over (leader election).
    if (cluster_.size() > 1 && simulation.OneIn(8)) {
      simulation.Sleep(kDeadlineMax + kGrace);
      node_ = (node_ + 1) % cluster_.size();
    }
  }
}

std::string Client::Create(const std::string& backend, const std::string& volume, uint64_t bytes) {
  auto& simulation = world_.simulation;
  csi::v1::CreateVolumeRequest request;
  request.set_name(volume);
  *request.add_volume_capabilities() = Capability();
  request.mutable_capacity_range()->set_required_bytes(static_cast<int64_t>(bytes));
  (*request.mutable_parameters())["backend"] = backend;
  auto token = std::make_shared<std::string>();
  const auto answer = Persist<csi::v1::CreateVolumeResponse>(
      backend, "create " + backend + ":" + volume,
      [this, request, token](const core::Controller& at, const core::CallContext& context) {
        auto named = request;
        *token = name_ + "." + std::to_string(next_token_++);
        (*named.mutable_parameters())["token"] = *token;
        return at.CreateVolume(named, context);
      });
  const auto& made = answer->volume();
  const auto echo = made.volume_context().find("token");
  if (echo == made.volume_context().end() || echo->second != *token)
    simulation.Fail(name_ + ": the answer to another call came for " + volume);
  if (!Storage::ExistedWithin(world_.storage.volume(backend, HandleOf(made.volume_id())), begun_,
                              simulation.now()))
    simulation.Fail(name_ + ": " + volume + " was said to be made and was not there");
  return made.volume_id();
}

void Client::Expand(const std::string& backend, const std::string& id, uint64_t bytes,
                    bool is_shared) {
  csi::v1::ControllerExpandVolumeRequest request;
  request.set_volume_id(id);
  request.mutable_capacity_range()->set_required_bytes(static_cast<int64_t>(bytes));
  const auto answer = Persist<csi::v1::ControllerExpandVolumeResponse>(
      backend, "expand " + id,
      [request](const core::Controller& at, const core::CallContext& context) {
        return at.ControllerExpandVolume(request, context);
      },
      is_shared ? Code::kNotFound : Code::kOk);
  if (!answer) return;
  const auto got = static_cast<uint64_t>(answer->capacity_bytes());
  if (got < bytes || (!is_shared && got != bytes))
    world_.simulation.Fail(name_ + ": " + id + " was grown to " + std::to_string(got) +
                           " bytes: expected " + std::to_string(bytes));
}

void Client::Publish(const std::string& backend, const std::string& id, bool is_shared) {
  const auto allowed = is_shared ? Code::kNotFound : Code::kOk;
  csi::v1::ControllerPublishVolumeRequest request;
  request.set_volume_id(id);
  request.set_node_id(name_ + "-" + std::to_string(next_token_++));
  *request.mutable_volume_capability() = Capability();
  const auto answer = Persist<csi::v1::ControllerPublishVolumeResponse>(
      backend, "publish " + id,
      [request](const core::Controller& at, const core::CallContext& context) {
        return at.ControllerPublishVolume(request, context);
      },
      allowed);
  if (!answer) return;
  const auto node = answer->publish_context().find("node");
  if (node == answer->publish_context().end() || node->second != request.node_id())
    world_.simulation.Fail(name_ + ": another call's answer came for the publish of " + id);
  if (!is_shared && !world_.storage.volume(backend, HandleOf(id)).nodes.contains(request.node_id()))
    world_.simulation.Fail(name_ + ": " + id + " is not published to " + request.node_id());
  csi::v1::ControllerUnpublishVolumeRequest undo;
  undo.set_volume_id(id);
  undo.set_node_id(request.node_id());
  (void)Persist<csi::v1::ControllerUnpublishVolumeResponse>(
      backend, "unpublish " + id,
      [undo](const core::Controller& at, const core::CallContext& context) {
        return at.ControllerUnpublishVolume(undo, context);
      },
      allowed);
}

void Client::List() {
  std::set<std::string> found;
  std::string token;
  const auto since = world_.simulation.now();
  do {
    csi::v1::ListVolumesRequest request;
    request.set_starting_token(token);
    request.set_max_entries(static_cast<int32_t>(world_.simulation.Below(4)));
    const auto page = Persist<csi::v1::ListVolumesResponse>(
        kWildBackend, "list after " + token,  // of all backends
        [request](const core::Controller& at, const core::CallContext& context) {
          return at.ListVolumes(request, context);
        });
    for (const auto& entry : page->entries()) {
      const std::string& id = entry.volume().volume_id();
      if (!found.insert(id).second) world_.simulation.Fail(name_ + ": " + id + " is listed twice");
      if (!Storage::ExistedWithin(world_.storage.volume(id.substr(0, id.find(':')), HandleOf(id)),
                                  since, world_.simulation.now()))
        world_.simulation.Fail(name_ + ": " + id + " was listed and did not exist");
    }
    token = page->next_token();
  } while (!token.empty());
  for (const auto& [backend, volumes] : left_)
    for (const auto& [handle, bytes] : volumes)
      if (!found.contains(backend + ":" + handle))
        world_.simulation.Fail(name_ + ": " + backend + ":" + handle + " is missing in a list");
}

void Client::Delete(const std::string& backend, const std::string& id) {
  csi::v1::DeleteVolumeRequest request;
  request.set_volume_id(id);
  (void)Persist<csi::v1::DeleteVolumeResponse>(
      backend, "delete " + id,
      [request](const core::Controller& at, const core::CallContext& context) {
        return at.DeleteVolume(request, context);
      });
  if (!Storage::WasAbsentWithin(world_.storage.volume(backend, HandleOf(id)), begun_,
                                world_.simulation.now()))
    world_.simulation.Fail(name_ + ": " + id + " was said to be deleted and was there");
}

void Client::Live(const std::string& backend, const std::string& volume, bool is_shared) {
  auto& simulation = world_.simulation;
  const uint64_t bytes = 1'000 + simulation.Below(1'000);
  const std::string id = Create(backend, volume, bytes);
  const std::string handle = HandleOf(id);
  if (!is_shared) left_[backend][handle] = bytes;
  while (!simulation.OneIn(3)) {
    const auto& stored = world_.storage.volume(backend, handle);
    if (!is_shared && !stored.exists) simulation.Fail(name_ + ": " + id + " is lost");
    switch (simulation.Below(3)) {
      case 0: {
        const uint64_t more = std::max(bytes, stored.capacity) + 1 + simulation.Below(100);
        Expand(backend, id, more, is_shared);
        if (!is_shared) left_[backend][handle] = more;
        break;
      }
      case 1:
        Publish(backend, id, is_shared);
        break;
      default:
        List();
    }
  }
  if (!is_shared && simulation.OneIn(3)) return;  // it stays
  left_[backend].erase(handle);
  Delete(backend, id);
}

void Client::Run(size_t lives) {
  auto& simulation = world_.simulation;
  node_ = simulation.Below(cluster_.size());
  for (size_t i = 0; i < lives; ++i) {
    const std::string backend = simulation.OneIn(2) ? kCalmBackend : kWildBackend;
    const bool is_shared = simulation.OneIn(4);
    // A name of its own now and then comes back after its delete; one that stayed does not.
    const std::string volume = is_shared ? "shared" : name_ + "-" + std::to_string(i);
    Live(backend, volume, is_shared);
    if (!is_shared &&
        !left_[backend].contains(core::MakeKey(core::IdKind::kVolume, "owner", volume)) &&
        simulation.OneIn(3))
      Live(backend, volume, false);
  }
}

}  // namespace gantry::simulation
