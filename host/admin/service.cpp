// SPDX-License-Identifier: Apache-2.0
#include "host/admin/service.hpp"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <thread>

#include "host/admin/convert.hpp"
#include "host/admin/orphans.hpp"
#include "host/admin/reload.hpp"
#include "host/admin/volumes.hpp"
#include "host/core/cancel_flag.hpp"
#include "host/core/process_use.hpp"

namespace gantry::admin {
namespace {

constexpr std::chrono::milliseconds kGoneCheckMs{200};
constexpr size_t kLogPageLines = 256;

grpc::Status ToStatus(const base::Error& error) {
  return {static_cast<grpc::StatusCode>(error.code), error.message};
}
grpc::Status ToStatus(const base::Status& status) {
  return status ? grpc::Status::OK : ToStatus(status.error());
}

base::TimePoint DeadlineOf(const grpc::ServerContext& context) {
  const auto now = std::chrono::steady_clock::now();
  if (context.deadline() == std::chrono::system_clock::time_point::max())
    return now + kAdminMsDefault;
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      context.deadline() - std::chrono::system_clock::now());
  return now + std::clamp(left, std::chrono::milliseconds(0), kAdminMsMax);
}

// A cancellation that follows the caller: the synchronous API tells of its going only when asked.
class CallerGone {
 public:
  CallerGone(grpc::ServerContext& context, const std::atomic<bool>& stopping)
      : thread_([this, &context, &stopping] {
          std::unique_lock lock(mutex_);
          while (!over_.wait_for(lock, kGoneCheckMs, [&] { return is_over_; }))
            if (context.IsCancelled() || stopping) flag_.Cancel();
        }) {}
  ~CallerGone() {
    {
      const std::lock_guard lock(mutex_);
      is_over_ = true;
    }
    over_.notify_all();
    thread_.join();
  }
  core::Cancellation* flag() { return &flag_; }

 private:
  core::CancelFlag flag_;
  std::mutex mutex_;
  std::condition_variable over_;
  bool is_over_ = false;
  std::thread thread_;
};

v1::SwapEvent StepEvent(const core::SwapStep& step) {
  v1::SwapEvent event;
  *event.mutable_step() = ToMessage(step);
  return event;
}
v1::SwapEvent ResultEvent(const core::SwapStatus& status) {
  v1::SwapEvent event;
  *event.mutable_result() = ToMessage(status);
  return event;
}

}  // namespace

base::Status Service::HasBackend(const std::string& name) const {
  if (parts_.config.backends.contains(name)) return {};
  std::string known;
  for (const auto& [other, backend] : parts_.config.backends)
    known += (known.empty() ? "" : ", ") + other;
  return base::Fail(base::Code::kNotFound, "backend: \"" + name + "\": expected one of " + known);
}

core::Config Service::Current() const {
  const std::lock_guard lock(mutex_);
  return config_;
}

grpc::Status Service::GetStatus(grpc::ServerContext*, const v1::GetStatusRequest* request,
                                v1::Status* response) {
  if (!request->backend().empty())
    if (const auto known = HasBackend(request->backend()); !known) return ToStatus(known);
  response->set_version(parts_.version);
  response->set_pid(getpid());
  response->set_since(FormatTime(since_));
  response->set_ready(!parts_.ready || parts_.ready());
  response->set_node_id(parts_.config.node_id);
  response->set_config_file(parts_.config_file);
  response->set_metrics_address(parts_.metrics_address);
  for (const auto& driver : parts_.config.drivers) {
    auto& to = *response->add_drivers();
    to.set_name(driver.name);
    to.set_endpoint(driver.endpoint);
    for (const auto& backend : driver.backends) to.add_backends(backend);
    to.set_default_backend(driver.default_backend);
  }
  const auto config = Current();
  for (const auto& status : parts_.fleet->Status()) {
    if (!request->backend().empty() && status.name != request->backend()) continue;
    auto& to = *response->add_backends();
    to = ToMessage(status);
    const auto configured = config.backends.find(status.name);
    if (configured != config.backends.end()) {
      to.set_plugin(configured->second.plugin);
      to.set_uid(configured->second.uid);
    }
    const auto backend = parts_.backends.find(status.name);
    if (backend != parts_.backends.end() && backend->second->Known())
      for (const auto& slot : backend->second->capabilities().description().slots())
        to.add_capabilities(slot);
  }
  if (parts_.stuck_helpers)
    for (const auto& helper : parts_.stuck_helpers()) {
      auto& to = *response->add_stuck_helpers();
      to.set_pid(helper.pid);
      to.set_operation(helper.operation);
      to.set_path(helper.path);
      to.set_age_ms(static_cast<uint64_t>(helper.age.count()));
    }
  *response->mutable_use() = ToMessage(core::ReadProcessUse(getpid()));
  if (parts_.log_lines_dropped) response->set_log_lines_dropped(parts_.log_lines_dropped());
  return grpc::Status::OK;
}

grpc::Status Service::Swap(grpc::ServerContext* context, const v1::SwapRequest* request,
                           grpc::ServerWriter<v1::SwapEvent>* writer) {
  if (const auto known = HasBackend(request->backend()); !known) return ToStatus(known);
  const auto swap = FromMessage(*request);
  if (!swap) return ToStatus(swap.error());
  CallerGone gone(*context, stopping_);
  const auto done = parts_.fleet->Swap(
      *swap, [&](const core::SwapStep& step) { writer->Write(StepEvent(step)); }, gone.flag());
  if (!done) return ToStatus(done.error());
  writer->Write(ResultEvent(*done));
  return grpc::Status::OK;
}

grpc::Status Service::Rollback(grpc::ServerContext*, const v1::RollbackRequest* request,
                               grpc::ServerWriter<v1::SwapEvent>* writer) {
  if (const auto known = HasBackend(request->backend()); !known) return ToStatus(known);
  const auto done = parts_.fleet->Rollback(
      request->backend(), [&](const core::SwapStep& step) { writer->Write(StepEvent(step)); });
  if (!done) return ToStatus(done.error());
  writer->Write(ResultEvent(*done));
  return grpc::Status::OK;
}

grpc::Status Service::Drain(grpc::ServerContext*, const v1::DrainRequest* request,
                            v1::DrainResponse*) {
  if (const auto known = HasBackend(request->backend()); !known) return ToStatus(known);
  const auto deadline = request->deadline_ms() == 0
                            ? kDrainMsDefault
                            : std::chrono::milliseconds(
                                  std::min<uint64_t>(request->deadline_ms(), kAdminMsMax.count()));
  return ToStatus(parts_.fleet->Drain(request->backend(), deadline));
}

grpc::Status Service::Resume(grpc::ServerContext*, const v1::ResumeRequest* request,
                             v1::ResumeResponse*) {
  if (const auto known = HasBackend(request->backend()); !known) return ToStatus(known);
  return ToStatus(parts_.fleet->Resume(request->backend()));
}

grpc::Status Service::ListVolumes(grpc::ServerContext* context,
                                  const v1::ListVolumesRequest* request,
                                  grpc::ServerWriter<v1::Volume>* writer) {
  CallerGone gone(*context, stopping_);
  return ToStatus(
      admin::ListVolumes(parts_, *request, DeadlineOf(*context), gone.flag(),
                         [&](const v1::Volume& volume) { return writer->Write(volume); }));
}

grpc::Status Service::Explain(grpc::ServerContext* context, const v1::ExplainRequest* request,
                              v1::Explanation* response) {
  CallerGone gone(*context, stopping_);
  auto explained = admin::Explain(parts_, request->id(), DeadlineOf(*context), gone.flag());
  if (!explained) return ToStatus(explained.error());
  *response = std::move(*explained);
  return grpc::Status::OK;
}

grpc::Status Service::FindOrphans(grpc::ServerContext* context,
                                  const v1::FindOrphansRequest* request, v1::Orphans* response) {
  CallerGone gone(*context, stopping_);
  auto found = admin::FindOrphans(parts_, request->delete_(), DeadlineOf(*context), gone.flag());
  if (!found) return ToStatus(found.error());
  *response = std::move(*found);
  return grpc::Status::OK;
}

grpc::Status Service::UpgradeVolume(grpc::ServerContext* context,
                                    const v1::UpgradeVolumeRequest* request,
                                    v1::UpgradeVolumeResponse* response) {
  const auto upgraded = admin::UpgradeVolume(parts_, *request, DeadlineOf(*context));
  if (!upgraded) return ToStatus(upgraded.error());
  response->set_plugin_sha256(*upgraded);
  return grpc::Status::OK;
}

grpc::Status Service::ListTasks(grpc::ServerContext*, const v1::ListTasksRequest* request,
                                v1::Tasks* response) {
  if (parts_.tasks == nullptr) return grpc::Status::OK;
  for (const auto& task : parts_.tasks->List())
    if (request->backend().empty() || task.backend == request->backend())
      *response->add_tasks() = ToMessage(task);
  return grpc::Status::OK;
}

grpc::Status Service::ReadLog(grpc::ServerContext* context, const v1::ReadLogRequest* request,
                              grpc::ServerWriter<v1::LogLine>* writer) {
  struct Follower {
    std::atomic<int>& count;
    const int before = count.fetch_add(1);
    ~Follower() { --count; }
  };
  const Follower follower{followers_};
  if (follower.before >= kLogFollowersMax)
    return {grpc::StatusCode::RESOURCE_EXHAUSTED,
            std::to_string(kLogFollowersMax) + " others read the log already"};
  uint64_t skipped = 0;
  for (uint64_t next = parts_.log->Tail(request->tail()); !stopping_;) {
    const auto page = parts_.log->Read(next, kLogPageLines);
    next = page.next;
    skipped += page.skipped;
    for (const auto& line : page.lines) {
      if (!request->backend().empty() && !IsAbout(line, request->backend())) continue;
      if (!request->call().empty() && line.call.id != request->call()) continue;
      auto message = ToMessage(line);
      message.set_skipped(std::exchange(skipped, 0));
      if (!writer->Write(message)) return grpc::Status::CANCELLED;
    }
    if (!page.lines.empty()) continue;
    if (!request->follow()) return grpc::Status::OK;
    if (context->IsCancelled()) return grpc::Status::CANCELLED;
    (void)parts_.log->Await(next, kGoneCheckMs);
  }
  return grpc::Status::OK;
}

base::Result<core::Config> Service::LoadChecked(const v1::ConfigRequest& request,
                                                v1::ConfigPlan& plan) {
  const std::filesystem::path file = request.file().empty() ? parts_.config_file : request.file();
  if (!file.is_absolute())
    return base::Fail(base::Code::kInvalidArgument,
                      "file: \"" + file.string() + "\": expected an absolute path");
  GANTRY_TRY_ASSIGN(auto next, core::LoadConfig(file));
  GANTRY_TRY(parts_.check_config(next));
  plan = PlanChange(Current(), next);
  plan.set_file(file);
  return next;
}

grpc::Status Service::CheckConfig(grpc::ServerContext*, const v1::ConfigRequest* request,
                                  v1::ConfigPlan* response) {
  const auto next = LoadChecked(*request, *response);
  return next ? grpc::Status::OK : ToStatus(next.error());
}

base::Status Service::Reload(const v1::ConfigRequest& request, core::Cancellation* cancellation,
                             const std::function<void(const v1::ReloadEvent&)>& out) {
  const std::unique_lock one(reloading_, std::try_to_lock);
  if (!one) return base::Fail(base::Code::kAborted, "another reload is under way");
  v1::ReloadEvent planned;
  GANTRY_TRY_ASSIGN(const auto next, LoadChecked(request, *planned.mutable_plan()));
  out(planned);
  if (planned.plan().needs_restart()) {
    std::string keys;
    for (const auto& change : planned.plan().changes())
      if (!change.by_swap()) keys += (keys.empty() ? "" : ", ") + change.key();
    return base::Fail(
        base::Code::kFailedPrecondition,
        "only a restart of gantryd brings these about: " + keys + "; nothing was changed");
  }
  for (const auto& swap : SwapsFor(Current(), next)) {
    v1::ReloadEvent event;
    event.mutable_swap()->set_backend(swap.backend);
    const auto done = parts_.fleet->Swap(
        swap,
        [&](const core::SwapStep& step) {
          *event.mutable_swap()->mutable_event() = StepEvent(step);
          out(event);
        },
        cancellation);
    if (!done) return tl::unexpected(base::Wrap(done.error(), "backend " + swap.backend));
    *event.mutable_swap()->mutable_event() = ResultEvent(*done);
    out(event);
    if (done->error) return tl::unexpected(base::Wrap(*done->error, "backend " + swap.backend));
    const std::lock_guard lock(mutex_);
    config_.backends[swap.backend] = next.backends.at(swap.backend);
  }
  spdlog::info("configuration reloaded from {}", planned.plan().file());
  return {};
}

grpc::Status Service::ReloadConfig(grpc::ServerContext* context, const v1::ConfigRequest* request,
                                   grpc::ServerWriter<v1::ReloadEvent>* writer) {
  CallerGone gone(*context, stopping_);
  return ToStatus(
      Reload(*request, gone.flag(), [&](const v1::ReloadEvent& event) { writer->Write(event); }));
}

}  // namespace gantry::admin
