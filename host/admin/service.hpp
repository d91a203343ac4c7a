// SPDX-License-Identifier: Apache-2.0
// gantry.admin.v1.Admin on the wire: gRPC's synchronous API, because an operator's calls are few
// and long, and a swap or a log that is followed then reads as a loop. What each does stands in the
// files beside.
#pragma once

#include <gantry/admin.grpc.pb.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <functional>
#include <mutex>

#include "host/admin/parts.hpp"

namespace gantry::admin {

constexpr int kLogFollowersMax = 8;
// Of a caller that names none, and the most that a caller gets.
constexpr std::chrono::milliseconds kAdminMsDefault{30'000};
constexpr std::chrono::milliseconds kAdminMsMax{3'600'000};
constexpr std::chrono::milliseconds kDrainMsDefault{30'000};

class Service final : public v1::Admin::Service {
 public:
  explicit Service(Parts parts)
      : parts_(std::move(parts)),
        config_(parts_.config),
        since_(std::chrono::system_clock::now()) {}

  // Ends what would go on for long: followers of the log, swaps.
  void Stop() { stopping_ = true; }

  // One at a time; ABORTED while another is under way. `cancellation` may be null.
  base::Status Reload(const v1::ConfigRequest& request, core::Cancellation* cancellation,
                      const std::function<void(const v1::ReloadEvent&)>& out);

  grpc::Status GetStatus(grpc::ServerContext* context, const v1::GetStatusRequest* request,
                         v1::Status* response) override;
  grpc::Status Swap(grpc::ServerContext* context, const v1::SwapRequest* request,
                    grpc::ServerWriter<v1::SwapEvent>* writer) override;
  grpc::Status Rollback(grpc::ServerContext* context, const v1::RollbackRequest* request,
                        grpc::ServerWriter<v1::SwapEvent>* writer) override;
  grpc::Status Drain(grpc::ServerContext* context, const v1::DrainRequest* request,
                     v1::DrainResponse* response) override;
  grpc::Status Resume(grpc::ServerContext* context, const v1::ResumeRequest* request,
                      v1::ResumeResponse* response) override;
  grpc::Status ListVolumes(grpc::ServerContext* context, const v1::ListVolumesRequest* request,
                           grpc::ServerWriter<v1::Volume>* writer) override;
  grpc::Status Explain(grpc::ServerContext* context, const v1::ExplainRequest* request,
                       v1::Explanation* response) override;
  grpc::Status FindOrphans(grpc::ServerContext* context, const v1::FindOrphansRequest* request,
                           v1::Orphans* response) override;
  grpc::Status UpgradeVolume(grpc::ServerContext* context, const v1::UpgradeVolumeRequest* request,
                             v1::UpgradeVolumeResponse* response) override;
  grpc::Status ListTasks(grpc::ServerContext* context, const v1::ListTasksRequest* request,
                         v1::Tasks* response) override;
  grpc::Status ReadLog(grpc::ServerContext* context, const v1::ReadLogRequest* request,
                       grpc::ServerWriter<v1::LogLine>* writer) override;
  grpc::Status CheckConfig(grpc::ServerContext* context, const v1::ConfigRequest* request,
                           v1::ConfigPlan* response) override;
  grpc::Status ReloadConfig(grpc::ServerContext* context, const v1::ConfigRequest* request,
                            grpc::ServerWriter<v1::ReloadEvent>* writer) override;

 private:
  base::Status HasBackend(const std::string& name) const;
  core::Config Current() const;
  // The file's content, judged by the plugins, and what it would change.
  base::Result<core::Config> LoadChecked(const v1::ConfigRequest& request, v1::ConfigPlan& plan);

  const Parts parts_;
  mutable std::mutex mutex_;
  core::Config config_;  // as reloads have made it
  std::mutex reloading_;
  const std::chrono::system_clock::time_point since_;
  std::atomic<int> followers_{0};
  std::atomic<bool> stopping_{false};
};

}  // namespace gantry::admin
