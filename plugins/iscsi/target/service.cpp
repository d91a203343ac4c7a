// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/service.hpp"

#include <exception>
#include <utility>

#include "plugins/iscsi/target/access.hpp"
#include "plugins/iscsi/target/crypto.hpp"
#include "plugins/iscsi/target/lio_kind.hpp"
#include "plugins/iscsi/target/tasks.hpp"
#include "plugins/iscsi/target/tgt_kind.hpp"
#include "plugins/iscsi/target/volumes.hpp"

namespace gantry::iscsi::target {
namespace {

using plugin::Result;

Result<Description> Do(const Context& context, const Call& /*call*/, const Describe& /*request*/,
                       Deadline /*deadline*/) {
  GANTRY_PLUGIN_TRY(context.kind.Probe());
  GANTRY_PLUGIN_TRY_ASSIGN(const auto capacity, CapacityOf(context));
  Description description;
  description.version_min = description.version_max = kProtocolVersion;
  description.kind = context.kind.name();
  description.filesystem = context.store.FilesystemName();
  GANTRY_PLUGIN_TRY_ASSIGN(description.reflink, context.store.CanReflink());
  description.chap = !context.config.chap_key_file.empty();
  if (description.chap) GANTRY_PLUGIN_TRY(SealKey::Read(context.config.chap_key_file));
  description.expand_interrupts = context.kind.grow_interrupts();
  description.portals = context.config.portals;
  description.total_bytes = capacity.total_bytes;
  description.available_bytes = capacity.available_bytes;
  return description;
}
Result<Capacity> Do(const Context& context, const Call& /*call*/, const GetCapacity& /*request*/,
                    Deadline /*deadline*/) {
  return CapacityOf(context);
}
template <class Request>
auto Do(const Context& context, const Call& call, const Request& request, Deadline deadline) {
  if constexpr (requires { Create(context, call, request, deadline); })
    return Create(context, call, request, deadline);
  else if constexpr (requires { Get(context, call, request); })
    return Get(context, call, request);
  else if constexpr (requires { List(context, call, request); })
    return List(context, call, request);
  else
    return Delete(context, call, request, deadline);
}
Result<Volume> Do(const Context& context, const Call& call, const ExpandVolume& request,
                  Deadline deadline) {
  return Expand(context, call, request, deadline);
}
Result<Volume> Do(const Context& context, const Call& call, const ModifyVolume& request,
                  Deadline deadline) {
  return Modify(context, call, request, deadline);
}
Result<Volume> Do(const Context& context, const Call& call, const PublishVolume& request,
                  Deadline deadline) {
  return Publish(context, call, request, deadline);
}
Result<Empty> Do(const Context& context, const Call& call, const UnpublishVolume& request,
                 Deadline deadline) {
  return Unpublish(context, call, request, deadline);
}
Result<Progress> Do(const Context& context, const Call& /*call*/, const RunTask& request,
                    Deadline deadline) {
  return Run(context, request, deadline);
}
Result<Progress> Do(const Context& context, const Call& /*call*/, const Rebuild& /*request*/,
                    Deadline deadline) {
  return RebuildOnce(context, deadline);
}

void WipeSecrets(PublishVolume* request) {
  if (request->chap) Wipe(&*request->chap);
}
template <class Request>
void WipeSecrets(Request* /*request*/) {}

}  // namespace

std::unique_ptr<TargetKind> MakeKind(const Config& config) {
  if (config.kind == Kind::kLio) return std::make_unique<LioKind>(config.lio, config.portals);
  return std::make_unique<TgtKind>(config.tgt);
}

Service::Service(Config config, std::string program, Store store)
    : config_(std::move(config)),
      program_(std::move(program)),
      store_(std::move(store)),
      kind_(MakeKind(config_)) {}

Result<std::unique_ptr<Service>> Service::Open(Config config, std::string program, Step step) {
  GANTRY_PLUGIN_TRY_ASSIGN(auto store, Store::Open(config.store, std::move(step)));
  return std::unique_ptr<Service>(
      new Service(std::move(config), std::move(program), std::move(store)));
}

Context Service::MakeContext() {
  return {config_, store_, *kind_,
          [] {
            return std::chrono::duration_cast<std::chrono::nanoseconds>(
                       std::chrono::system_clock::now().time_since_epoch())
                .count();
          },
          [] { return RandomHex(kIncarnationBytes / 2); }};
}

template <class Request>
std::string Service::Serve(const Call& call, const Request& request) {
  const Deadline deadline = std::chrono::steady_clock::now() + call.deadline;
  Result<typename Request::Reply> reply;
  try {
    reply = Do(MakeContext(), call, request, deadline);
  } catch (const std::exception& error) {
    // Memory or random numbers are out: what lasts is whole after every step.
    reply = plugin::Fail(plugin::code::kInternal, std::string("gantry-target: ") + error.what());
  }
  if constexpr (std::is_same_v<Request, Describe>)
    if (reply) reply->program = program_;
  return EncodeReply(reply);
}

std::string Service::Answer(std::string_view line) {
  auto decoded = DecodeRequest(line);
  if (!decoded) return EncodeReply(Result<Empty>(tl::unexpected(std::move(decoded.error()))));
  return std::visit(
      [&](auto& request) {
        std::string reply = Serve(decoded->call, request);
        WipeSecrets(&request);
        return reply;
      },
      decoded->request);
}

}  // namespace gantry::iscsi::target
