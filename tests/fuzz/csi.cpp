// SPDX-License-Identifier: Apache-2.0
// CSI requests, the whole way from their bytes: limits, the services of core, the secrets cut out,
// the ABI structs that a plugin would get; and back from what a worker emits to the answer.
//
// Input: up to kCallsMax calls to one driver, each a byte for the method, the request and the emits
// that answer it, both with two bytes of length in front; the emits have a length each as well.
#include <gantry/channel.pb.h>

#include <array>
#include <vector>

#include "host/core/controller.hpp"
#include "host/core/groups.hpp"
#include "host/core/identity.hpp"
#include "host/core/metadata.hpp"
#include "host/core/node.hpp"
#include "host/core/redact.hpp"
#include "host/core/snapshots.hpp"
#include "host/core/testing.hpp"
#include "host/core/validate.hpp"
#include "host/worker/convert.hpp"
#include "tests/fuzz/csi_limits.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace {

using namespace gantry;  // NOLINT(google-build-using-namespace)
using core::testing::FakeDriver;

constexpr int kCallsMax = 6;
constexpr size_t kEmitsMax = 16;
constexpr size_t kArenaBytesMax = 1024 * 1024;

void ExpectText(gantry_str text) {
  if (text.len == 0) return;
  GANTRY_FUZZ_EXPECT(text.ptr != nullptr && text.ptr[text.len] == '\0');
  GANTRY_FUZZ_EXPECT(std::string_view(text.ptr, text.len).find('\0') == std::string_view::npos);
}
void ExpectText(const gantry_map& map) {
  for (size_t i = 0; i < map.count; ++i) {
    ExpectText(map.items[i].key);
    ExpectText(map.items[i].value);
    if (i == 0) continue;
    const auto view = [](gantry_str s) {
      return std::string_view(s.ptr == nullptr ? "" : s.ptr, s.len);
    };
    GANTRY_FUZZ_EXPECT(view(map.items[i - 1].key) < view(map.items[i].key), "a map is sorted");
  }
}
void ExpectText(const gantry_capability& capability) {
  ExpectText(capability.fs_type);
  ExpectText(capability.volume_mount_group);
  for (size_t i = 0; i < capability.mount_flags.count; ++i)
    ExpectText(capability.mount_flags.items[i]);
}

// Every request struct has its size first.
template <class Struct>
const Struct* Convert(const channel::Call& call, worker::Arena& arena) {
  const auto request = worker::ConvertTo<Struct>(call, arena);
  if (!request) {
    // What core lets pass is such a request; a plugin's own INVALID_ARGUMENT is a fine answer.
    GANTRY_FUZZ_EXPECT(request.error().code == base::Code::kInvalidArgument,
                       request.error().message);
    return nullptr;
  }
  const auto* body = static_cast<const Struct*>(request->body);
  GANTRY_FUZZ_EXPECT(body->size == sizeof(Struct));
  ExpectText(request->domain_handle);
  ExpectText(request->domain_parameters);
  return body;
}

void ConvertCreate(const channel::Call& call, worker::Arena& arena) {
  const auto* to = Convert<gantry_create_volume>(call, arena);
  if (to == nullptr) return;
  ExpectText(to->name);
  ExpectText(to->parameters);
  ExpectText(to->hints);
  GANTRY_FUZZ_EXPECT(to->limit_bytes == 0 || to->limit_bytes >= to->required_bytes);
  for (size_t i = 0; i < to->capability_count; ++i) ExpectText(to->capabilities[i]);
  for (size_t i = 0; i < to->requisite_count; ++i) ExpectText(to->requisite[i]);
  for (size_t i = 0; i < to->preferred_count; ++i) ExpectText(to->preferred[i]);
}

void ConvertAttach(const channel::Call& call, worker::Arena& arena) {
  const auto* to = Convert<gantry_attach>(call, arena);
  if (to == nullptr) return;
  ExpectText(to->handle);
  ExpectText(to->capability);
  ExpectText(to->context);
  ExpectText(to->publish_context);
}

// As worker/operations does.
void ConvertAny(const channel::Call& call) {
  worker::Arena arena(kArenaBytesMax);
  switch (call.operation()) {
    case channel::CREATE_VOLUME:
      return ConvertCreate(call, arena);
    case channel::DELETE_VOLUME:
    case channel::GET_VOLUME:
      return void(Convert<gantry_volume_ref>(call, arena));
    case channel::LIST_VOLUMES:
      return void(Convert<gantry_list_volumes>(call, arena));
    case channel::GET_CAPACITY:
      return void(Convert<gantry_get_capacity>(call, arena));
    case channel::EXPAND_VOLUME:
      return void(Convert<gantry_expand_volume>(call, arena));
    case channel::MODIFY_VOLUME:
      return void(Convert<gantry_modify_volume>(call, arena));
    case channel::PUBLISH_VOLUME:
    case channel::UNPUBLISH_VOLUME:
      return void(Convert<gantry_publish_volume>(call, arena));
    case channel::CREATE_SNAPSHOT:
      return void(Convert<gantry_create_snapshot>(call, arena));
    case channel::DELETE_SNAPSHOT:
    case channel::GET_SNAPSHOT:
      return void(Convert<gantry_snapshot_ref>(call, arena));
    case channel::LIST_SNAPSHOTS:
      return void(Convert<gantry_list_snapshots>(call, arena));
    case channel::CREATE_GROUP:
      return void(Convert<gantry_create_group>(call, arena));
    case channel::DELETE_GROUP:
    case channel::GET_GROUP:
      return void(Convert<gantry_group_ref>(call, arena));
    case channel::GET_ALLOCATED:
    case channel::GET_DELTA:
      return void(Convert<gantry_block_query>(call, arena));
    case channel::ATTACH:
    case channel::DETACH:
    case channel::RESCAN:
      return ConvertAttach(call, arena);
    default:
      GANTRY_FUZZ_EXPECT(false, "an operation that no service asks for");
  }
}

// Emits, one after the other, each with its length.
std::vector<channel::Emit> EmitsOf(std::string_view bytes) {
  fuzz::Input input(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  std::vector<channel::Emit> emits;
  while (!input.empty() && emits.size() < kEmitsMax) {
    channel::Emit emit;
    // Tasks are left out: they run on threads of their own.
    if (emit.ParseFromString(std::string(input.Sized())) && !emit.has_task()) emits.push_back(emit);
  }
  return emits;
}

// One driver and what its backend answers next.
class Host {
 public:
  Host() {
    for (const auto operation : core::testing::AllOperations())
      driver_.backend().On(operation,
                           [this](const core::BackendCall& call) { return Answer(call); });
  }

  template <class Service, class Request, class Response>
  void Do(base::Result<Response> (Service::*method)(const Request&, const core::CallContext&) const,
          std::string_view bytes) {
    Request request;
    if (!Begin(request, bytes)) return;
    const Service service(driver_.driver());
    const auto response = (service.*method)(request, core::testing::Soon());
    if (response) fuzz::ExpectCsi(*response);
    End(response ? base::Status() : base::Status(tl::unexpected(response.error())));
  }

  template <class Request, class Response>
  void Stream(base::Status (core::Metadata::*method)(const Request&, const core::CallContext&,
                                                     const std::function<bool(const Response&)>&)
                  const,
              std::string_view bytes) {
    Request request;
    if (!Begin(request, bytes)) return;
    const core::Metadata service(driver_.driver());
    End((service.*method)(request, core::testing::Soon(), [](const Response& response) {
      fuzz::ExpectCsi(response);
      return true;
    }));
  }

  void AnswersWith(std::string_view bytes) { emits_ = EmitsOf(bytes); }

 private:
  template <class Request>
  bool Begin(Request& request, std::string_view bytes) {
    if (!request.ParseFromString(std::string(bytes))) return false;
    const auto split = core::SplitSecrets(request);
    GANTRY_FUZZ_EXPECT(!fuzz::HoldsSecret(split.request));
    GANTRY_FUZZ_EXPECT(core::Redacted(request) == core::Redacted(split.request));
    GANTRY_FUZZ_EXPECT(core::Redacted(request).size() <= core::kRedactedBytesMax);
    request_ = std::make_unique<Request>(request);
    return core::CheckLimits(request).has_value();
  }

  static void End(const base::Status& status) {
    if (status) return;
    const auto& [code, message] = status.error();
    // Final answers, after which a CO forgets what may have been made.
    GANTRY_FUZZ_EXPECT(code != base::Code::kInternal && code != base::Code::kUnknown, message);
    GANTRY_FUZZ_EXPECT(base::IsKnown(code) && !message.empty());
  }

  core::testing::Answer Answer(const core::BackendCall& call) {
    const auto operation = call.message.operation();
    const bool is_kept = operation == channel::DETACH || operation == channel::RESCAN;
    const std::unique_ptr<google::protobuf::Message> sent(
        is_kept ? new csi::v1::NodeStageVolumeRequest : request_->New());
    GANTRY_FUZZ_EXPECT(sent->ParseFromString(call.message.request()));
    GANTRY_FUZZ_EXPECT(!fuzz::HoldsSecret(*sent), "a secret travels with the request");
    if (!call.message.handle().empty() && operation != channel::ATTACH &&
        core::ParseId(core::IdKind::kVolume, "fast:" + call.message.handle()))
      GANTRY_FUZZ_EXPECT(core::IsHandle(call.message.handle()));
    ConvertAny(call.message);
    return emits_;
  }

  FakeDriver driver_;
  std::vector<channel::Emit> emits_;
  std::unique_ptr<google::protobuf::Message> request_;
};

using Call = void (*)(Host&, std::string_view);

template <auto Method>
void Unary(Host& host, std::string_view bytes) {
  host.Do(Method, bytes);
}
template <auto Method>
void Streaming(Host& host, std::string_view bytes) {
  host.Stream(Method, bytes);
}

// New ones go to the end: the corpus names them by number.
constexpr std::array<Call, 28> kCalls = {
    Unary<&core::Controller::CreateVolume>,
    Unary<&core::Controller::DeleteVolume>,
    Unary<&core::Controller::ControllerPublishVolume>,
    Unary<&core::Controller::ControllerUnpublishVolume>,
    Unary<&core::Controller::ValidateVolumeCapabilities>,
    Unary<&core::Controller::ListVolumes>,
    Unary<&core::Controller::GetCapacity>,
    Unary<&core::Controller::ControllerExpandVolume>,
    Unary<&core::Controller::ControllerGetVolume>,
    Unary<&core::Controller::ControllerModifyVolume>,
    Unary<&core::Snapshots::CreateSnapshot>,
    Unary<&core::Snapshots::DeleteSnapshot>,
    Unary<&core::Snapshots::GetSnapshot>,
    Unary<&core::Snapshots::ListSnapshots>,
    Unary<&core::Groups::CreateVolumeGroupSnapshot>,
    Unary<&core::Groups::DeleteVolumeGroupSnapshot>,
    Unary<&core::Groups::GetVolumeGroupSnapshot>,
    Unary<&core::Node::NodeStageVolume>,
    Unary<&core::Node::NodeUnstageVolume>,
    Unary<&core::Node::NodePublishVolume>,
    Unary<&core::Node::NodeUnpublishVolume>,
    Unary<&core::Node::NodeGetVolumeStats>,
    Unary<&core::Node::NodeExpandVolume>,
    Unary<&core::Node::NodeGetInfo>,
    Unary<&core::Identity::GetPluginInfo>,
    Unary<&core::Identity::GetPluginCapabilities>,
    Streaming<&core::Metadata::GetMetadataAllocated>,
    Streaming<&core::Metadata::GetMetadataDelta>,
};

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  Host host;
  for (int i = 0; i < kCallsMax && !input.empty(); ++i) {
    const size_t method = input.Byte() % kCalls.size();
    const auto request = input.Sized();
    host.AnswersWith(input.Sized());
    kCalls[method](host, request);
  }
  return 0;
}
