// SPDX-License-Identifier: Apache-2.0
#include "host/worker/worker.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <exception>

#include "host/worker/convert.hpp"
#include "host/worker/emit.hpp"
#include "host/worker/operations.hpp"
#include "host/worker/plugin_text.hpp"

namespace gantry::worker {
namespace {

bool IsControl(channel::Operation operation) {
  return operation >= channel::CREATE_INSTANCE && operation <= channel::DESCRIBE;
}

channel::Description DescribePlugin(const LoadedPlugin& plugin, const Extensions& extensions) {
  channel::Description description = Describe(plugin.manifest, extensions);
  description.set_abi_major(plugin.table.abi_major);
  description.set_abi_minor(plugin.table.abi_minor);
  return description;
}

DispatcherLimits LimitsOf(const gantry_manifest& manifest) {
  DispatcherLimits limits;
  switch (manifest.thread_model) {
    case GANTRY_THREADS_PARALLEL:
      limits.model = ThreadModel::kParallel;
      break;
    case GANTRY_THREADS_PER_VOLUME:
      limits.model = ThreadModel::kPerVolume;
      break;
    default:
      limits.model = ThreadModel::kSerial;
  }
  limits.calls_max = manifest.calls_max;
  limits.domain_calls_max = manifest.domain_calls_max;
  return limits;
}

// What excludes what in the per-volume model.
std::vector<std::string> KeysOf(const channel::Call& message) {
  std::vector<std::string> keys;
  if (!message.handle().empty()) keys.push_back("handle " + message.handle());
  if (!message.key().empty()) keys.push_back("key " + message.key());
  if (message.has_task())
    keys.push_back("task " + message.task().kind() + " " + message.task().key());
  return keys;
}

static_assert(wire::ToLogLevel(GANTRY_LOG_DEBUG) == wire::LogLevel::kDebug &&
              wire::ToLogLevel(GANTRY_LOG_INFO) == wire::LogLevel::kInfo &&
              wire::ToLogLevel(GANTRY_LOG_WARNING) == wire::LogLevel::kWarning &&
              wire::ToLogLevel(GANTRY_LOG_ERROR) == wire::LogLevel::kError);

}  // namespace

// An operation of an extension, from the reader to the plugin's finish.
class Worker::Operation final : public Call, public Work {
 public:
  Operation(Worker& worker, Live& live, uint64_t id, channel::Call message, CallSecrets secrets)
      : Call(id, std::move(message), std::move(secrets)),
        worker_(worker),
        live_(live),
        traits_(FindOperation(Call::message().operation())) {}

  uint64_t id() const override { return Call::id(); }
  base::TimePoint deadline() const override { return Call::deadline(); }
  bool cancelled() const override { return Call::cancelled(); }

  base::Result<Placement> Prepare() override {
    if (traits_ == nullptr || !traits_->offered(live_.extensions))
      return base::Fail(
          base::Code::kUnimplemented,
          "the backend has no " + (traits_ == nullptr
                                       ? "operation " + std::to_string(message().operation())
                                       : std::string(traits_->slot)));
    GANTRY_TRY_ASSIGN(request_, traits_->convert(message(), request_arena()));
    return Placement{Domain(), KeysOf(message())};
  }

  void Run() override {
    worker_.Enter(traits_->slot, [this] {
      traits_->enter(live_.extensions, live_.instance, id(), request_.body);
    });
  }

  void Refuse(const base::Error& why) override {
    if (worker_.calls_.Remove(id())) worker_.outbound_.Finish(id(), why);
  }

 private:
  void OnEnded(base::Error outcome) override {
    worker_.outbound_.Finish(id(), outcome);
    live_.dispatcher.Finished(id());
  }

  std::string Domain() {
    const auto ask = live_.extensions.controller.domain;
    if (ask == nullptr) return "";
    gantry_domain_query* query = request_arena().NewRequest<gantry_domain_query>();
    query->handle = request_.domain_handle;
    query->parameters = request_.domain_parameters;
    gantry_str domain{};
    worker_.Enter("domain", [&] { domain = ask(live_.instance, query); });
    return Utf8(ToView(domain, kDomainBytesMax));
  }

  static constexpr size_t kDomainBytesMax = 256;
  Worker& worker_;
  Live& live_;
  const OperationTraits* const traits_;
  Request request_;
};

Worker::Worker(std::string backend, std::vector<std::string> not_enforced,
               std::unique_ptr<wire::Channel> channel, wire::LogPipe log)
    : backend_(std::move(backend)),
      not_enforced_(std::move(not_enforced)),
      log_(std::move(log)),
      channel_(std::move(channel)),
      outbound_(*channel_,
                [this](const base::Error& error) {
                  Exit(kExitHostGone, wire::LogLevel::kError,
                       "an answer could not be sent: " + error.message);
                }),
      misbehaviour_([this](std::string text) { Log(wire::LogLevel::kWarning, text); }),
      services_([this](uint64_t id, const channel::HostCall& call) {
        return outbound_.HostCall(id, call);
      }),
      calls_([this](uint64_t id, const channel::Emit& item) { return outbound_.Emit(id, item); },
             misbehaviour_, canceller_),
      host_table_(calls_, services_, misbehaviour_,
                  [this](uint64_t call, int32_t level, std::string_view text) {
                    const std::string prefix = call == 0 ? "" : "[" + LogIdOf(call) + "] ";
                    Log(wire::ToLogLevel(level),
                        prefix + std::string(text.substr(0, wire::kLogTextBytesMax)));
                  }) {}

// What the host calls this call by; for lifecycle steps, which have no such id, the channel's.
std::string Worker::LogIdOf(uint64_t id) {
  const auto call = calls_.Find(id);
  if (call != nullptr && !call->message().log_id().empty()) return call->message().log_id();
  return "call " + std::to_string(id);
}

void Worker::Exit(int code, wire::LogLevel level, std::string_view why) {
  Log(level, why);
  _exit(code);
}

// An exception that leaves the plugin has left its state behind in pieces; the process goes the way
// of a crash, but the log knows what it was.
template <class Function>
void Worker::Enter(const char* what, Function&& function) noexcept {
  const auto die = [&](const std::string& how) {
    Log(wire::LogLevel::kError, std::string("the plugin let an exception leave ") + what + how);
    std::abort();
  };
  try {
    function();
  } catch (const std::exception& e) {
    die(std::string(": ") + e.what());
  } catch (...) {
    die("");
  }
}

void Worker::Run(const std::filesystem::path& path) {
  if (const auto started = channel_->Start(*this); !started)
    Exit(kExitFailed, wire::LogLevel::kError, started.error().message);
  outbound_.Hello(backend_);
  const base::Result<LoadedPlugin> plugin = LoadPlugin(path);
  if (!plugin) Log(wire::LogLevel::kError, plugin.error().message);
  while (true) {
    const auto call = control_.Pop();
    RunControl(*call, plugin);
  }
}

// ---- wire-read

void Worker::OnClosed(const base::Error& error) {
  Exit(error.code == base::Code::kInternal ? kExitProtocol : kExitHostGone, wire::LogLevel::kInfo,
       "the worker ends with its channel: " + error.message);
}

void Worker::OnMessage(wire::Message message) {
  const uint64_t id = message.call_id;
  switch (message.kind) {
    case wire::Kind::kHello:
      return;
    case wire::Kind::kPing:
      (void)clerk_.Post([this, id, payload = std::move(message.payload)] {
        log_.ReportDrops();
        outbound_.Pong(id, payload);
      });
      return;
    case wire::Kind::kCancel:
      calls_.Cancel(id);
      if (Live* const live = live_.load())
        (void)clerk_.Post([live, id] { live->dispatcher.Cancel(id); });
      return;
    case wire::Kind::kCredit: {
      channel::Credit credit;
      if (!credit.ParseFromString(message.payload)) break;
      calls_.AddCredits(id, credit.emits(), credit.stop());
      return;
    }
    case wire::Kind::kHostReply:
      services_.OnReply(id, message.payload);
      return;
    case wire::Kind::kSecretReply:
      services_.OnSecret(id, std::move(message.secret));
      return;
    case wire::Kind::kSecrets:
      return OnSecrets(std::move(message));
    case wire::Kind::kLifecycle:
    case wire::Kind::kCall:
      return OnCall(std::move(message));
    case wire::Kind::kPong:
    case wire::Kind::kFinish:
    case wire::Kind::kEmit:
    case wire::Kind::kHostCall:
      break;
  }
  Exit(kExitProtocol, wire::LogLevel::kError,
       "the host sent a " + wire::KindName(message.kind) + " that a worker cannot use");
}

void Worker::OnSecrets(wire::Message message) {
  auto secrets = CallSecrets::Parse(message.secret);
  if (!secrets) Exit(kExitProtocol, wire::LogLevel::kError, secrets.error().message);
  if (secrets_.size() >= kSecretsWaitingMax)
    Exit(kExitProtocol, wire::LogLevel::kError, "the host sends secrets without their calls");
  secrets_.insert_or_assign(message.call_id, std::move(*secrets));
}

void Worker::RefuseLater(uint64_t id, base::Error why) {
  (void)clerk_.Post([this, id, why = std::move(why)] {
    if (calls_.Remove(id)) outbound_.Finish(id, why);
  });
}

void Worker::OnCall(wire::Message message) {
  const uint64_t id = message.call_id;
  channel::Call call;
  if (!call.ParseFromString(message.payload))
    Exit(kExitProtocol, wire::LogLevel::kError, "the host sent a call that cannot be read");
  CallSecrets secrets;
  if (auto node = secrets_.extract(id))
    secrets = std::move(node.mapped());
  else if (call.has_secrets())
    Exit(kExitProtocol, wire::LogLevel::kError, "the host sent a call without its secrets");

  const channel::Operation operation = call.operation();
  Live* const live = live_.load();
  std::shared_ptr<ControlCall> control;
  std::shared_ptr<Operation> work;
  if (IsControl(operation) || live == nullptr)
    control = std::make_shared<ControlCall>(id, std::move(call), std::move(secrets));
  else
    work = std::make_shared<Operation>(*this, *live, id, std::move(call), std::move(secrets));
  if (!calls_.Add(work ? std::shared_ptr<Call>(work) : control))
    Exit(kExitProtocol, wire::LogLevel::kError,
         "the host sent call " + std::to_string(id) + ", which is 0 or open already");

  if (work) return live->dispatcher.Submit(std::move(work));
  if (!IsControl(operation))
    return RefuseLater(id, {base::Code::kUnavailable, "the backend has not been created yet"});
  if (operation != channel::PROBE) {
    if (!control_.Push(std::move(control)))
      RefuseLater(id, {base::Code::kUnavailable, "too many steps of the life are waiting"});
    return;
  }
  if (!prober_.Post([this, control] { Answer(*control, Step(*control)); }))
    RefuseLater(id, {base::Code::kUnavailable, "an earlier probe has not ended"});
}

// ---- the control thread

void Worker::Answer(ControlCall& call, const base::Error& outcome) {
  (void)calls_.Remove(call.id());  // it is still there when the plugin was not entered
  outbound_.Finish(call.id(), outcome);
}

void Worker::RunControl(ControlCall& call, const base::Result<LoadedPlugin>& plugin) {
  if (call.Over())
    return Answer(call, call.cancelled()
                            ? base::Error{base::Code::kCancelled, "cancelled while it was waiting"}
                            : base::Error{base::Code::kDeadlineExceeded,
                                          "the deadline passed while it was waiting"});
  switch (call.message().operation()) {
    case channel::CREATE_INSTANCE:
      return Answer(call, Create(call, plugin));
    case channel::DESCRIBE:
      return Answer(call, SendDescription(call, plugin));
    case channel::STOP:
      Stop(call);
    default:
      return Answer(call, Step(call));
  }
}

base::Error Worker::SendDescription(ControlCall& call, const base::Result<LoadedPlugin>& plugin) {
  if (!plugin) return plugin.error();
  channel::Emit emit;
  Live* const live = live_.load();
  *emit.mutable_description() =
      DescribePlugin(*plugin, live == nullptr ? Extensions{} : live->extensions);
  if (const auto sent = outbound_.Emit(call.id(), emit); !sent)
    return {base::Code::kUnavailable, "the description cannot be sent: " + sent.error().message};
  return {base::Code::kOk, ""};
}

base::Error Worker::Create(ControlCall& call, const base::Result<LoadedPlugin>& plugin) {
  if (!plugin) return plugin.error();
  if (live_.load() != nullptr)
    return {base::Code::kFailedPrecondition, "the worker has its instance already"};
  const gantry_create* request = ConvertInstance(call.message().instance(), call.request_arena());
  gantry_instance* instance = nullptr;
  Enter("create", [&] { plugin->table.create(host_table_.host(), call.id(), request, &instance); });
  base::Error outcome = call.Wait();
  if (outcome.code != base::Code::kOk) return outcome;
  if (instance == nullptr) {
    misbehaviour_.Note("bad create", "create finished OK and set no instance");
    return {base::Code::kUnavailable, "the backend's create set no instance"};
  }
  Extensions extensions{};
  Enter("extension", [&] { extensions = AskExtensions(plugin->table, instance); });
  channel::Emit emit;
  *emit.mutable_description() = DescribePlugin(*plugin, extensions);
  for (const auto& part : not_enforced_) emit.mutable_description()->add_not_enforced(part);
  if (const auto sent = outbound_.Emit(call.id(), emit); !sent)
    return {base::Code::kUnavailable, "the description cannot be sent: " + sent.error().message};
  live_ = new Live{*plugin, extensions, instance, {LimitsOf(plugin->manifest), clerk_}};
  return outcome;
}

void (*Worker::FunctionOf(channel::Operation operation) const)(gantry_instance*, gantry_call) {
  const gantry_plugin& table = live_.load()->plugin.table;
  switch (operation) {
    case channel::START:
      return table.start;
    case channel::ACTIVATE:
      return table.activate;
    case channel::DEACTIVATE:
      return table.deactivate;
    case channel::PROBE:
      return table.probe;
    case channel::DRAIN:
      return table.drain;
    case channel::STOP:
      return table.stop;
    default:
      return nullptr;
  }
}

base::Error Worker::Step(ControlCall& call) {
  const channel::Operation operation = call.message().operation();
  if (live_.load() == nullptr)
    return {base::Code::kFailedPrecondition, "the backend has not been created yet"};
  const auto function = FunctionOf(operation);
  if (function == nullptr) return {base::Code::kOk, ""};
  Enter(channel::Operation_Name(operation).c_str(),
        [&] { function(live_.load()->instance, call.id()); });
  return call.Wait();
}

// Nothing may be left in the plugin when it is destroyed. Where something is, the process ends
// without: that is the stronger means anyway.
void Worker::Stop(ControlCall& call) {
  const auto deadline = std::min(
      call.deadline(), std::chrono::steady_clock::now() + std::chrono::milliseconds(kStopMsMax));
  base::Error outcome{base::Code::kOk, ""};
  if (Live* const live = live_.load()) {
    live->dispatcher.Close({base::Code::kUnavailable, "the backend is stopping"});
    if (!live->dispatcher.WaitIdle(deadline) || !prober_.WaitIdle(deadline)) {
      outcome = {
          base::Code::kUnavailable,
          "stopped with " + std::to_string(live->dispatcher.running()) + " operations unfinished"};
    } else {
      outcome = Step(call);
      Enter("destroy", [&] { live->plugin.table.destroy(live->instance); });
    }
  }
  Answer(call, outcome);
  outbound_.Flush();
  const std::string summary = misbehaviour_.Summary();
  if (!summary.empty())
    Exit(kExitStopped, wire::LogLevel::kWarning, "in its life the plugin misbehaved: " + summary);
  log_.ReportDrops();
  _exit(kExitStopped);
}

}  // namespace gantry::worker
