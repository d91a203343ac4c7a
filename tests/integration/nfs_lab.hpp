// SPDX-License-Identifier: Apache-2.0
// What the tests of the NFS backend share: a gantryd over one or more servers, short forms of the
// controller's calls, and a look behind the server at what a share really holds.
#pragma once

#include <csi/v1/csi.grpc.pb.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "host/base/file.hpp"
#include "tests/lab/ganesha.hpp"
#include "tests/lab/gantryd.hpp"
#include "tests/lab/nfs_proxy.hpp"

namespace gantry::itest {

using namespace std::chrono_literals;
using Names = std::set<std::string>;
using Parameters = std::map<std::string, std::string>;

inline constexpr std::chrono::milliseconds kCallMsMax{30'000};
inline constexpr std::chrono::milliseconds kSettleMsMax{30'000};
inline constexpr int64_t kVolumeBytes = 64 << 20;

// One share of a backend. Its port may be a proxy's.
struct ShareAt {
  uint16_t port = 0;
  uint16_t mount_port = 0;
  std::string path = "/vol";
};

inline ShareAt At(const lab::Ganesha& server) {
  return {server.port(), server.mount_port(), server.export_path()};
}

// YAML of a backend, as lab::GantrydOptions wants it.
inline std::string NfsBackend(const std::string& name, int uid,
                              const std::vector<ShareAt>& shares) {
  std::string text = "  " + name +
                     ":\n    plugin: nfs\n    owner: lab\n    uid: " + std::to_string(uid) +
                     "\n    config:\n      shares:\n";
  for (const auto& share : shares) {
    text += "        - {server: 127.0.0.1, share: " + share.path +
            ", port: " + std::to_string(share.port) +
            ", mountPort: " + std::to_string(share.mount_port) + "}\n";
  }
  return text + "    grants: {userspace: true}\n";
}

inline std::unique_ptr<lab::Gantryd> StartHost(const std::string& backends,
                                               const std::string& driver_backends = "[nfs]") {
  lab::GantrydOptions options;
  options.backends = backends;
  options.driver_backends = driver_backends;
  options.role = "controller";
  auto host = lab::Gantryd::Start(std::move(options));
  if (!host) {
    ADD_FAILURE() << host.error().message;
    return nullptr;
  }
  return std::move(*host);
}

template <class Reply>
struct Outcome {
  grpc::Status status;
  Reply reply;
  std::chrono::milliseconds took{};

  bool ok() const { return status.ok(); }
  grpc::StatusCode code() const { return status.error_code(); }
  std::string message() const {
    return "code " + std::to_string(status.error_code()) + ": " + status.error_message();
  }
};

inline csi::v1::CreateVolumeRequest CreateRequest(const std::string& name,
                                                  const Parameters& parameters = {},
                                                  int64_t bytes = kVolumeBytes) {
  csi::v1::CreateVolumeRequest request;
  request.set_name(name);
  request.mutable_capacity_range()->set_required_bytes(bytes);
  request.mutable_capacity_range()->set_limit_bytes(bytes);
  auto* capability = request.add_volume_capabilities();
  capability->mutable_mount();
  capability->mutable_access_mode()->set_mode(
      csi::v1::VolumeCapability::AccessMode::MULTI_NODE_MULTI_WRITER);
  for (const auto& [key, value] : parameters) (*request.mutable_parameters())[key] = value;
  return request;
}

enum class From { kVolume, kSnapshot };
inline csi::v1::CreateVolumeRequest CreateFromRequest(const std::string& name, From from,
                                                      const std::string& id,
                                                      const Parameters& parameters = {}) {
  auto request = CreateRequest(name, parameters);
  auto& source = *request.mutable_volume_content_source();
  if (from == From::kVolume) source.mutable_volume()->set_volume_id(id);
  if (from == From::kSnapshot) source.mutable_snapshot()->set_snapshot_id(id);
  return request;
}

// A connection to a gantryd. Any thread.
class Controller {
 public:
  explicit Controller(const lab::Gantryd& host)
      : stub_(csi::v1::Controller::NewStub(host.Connect())) {}

  using Created = Outcome<csi::v1::CreateVolumeResponse>;
  using Deleted = Outcome<csi::v1::DeleteVolumeResponse>;
  using Listed = Outcome<csi::v1::ListVolumesResponse>;
  using Snapped = Outcome<csi::v1::CreateSnapshotResponse>;
  using SnapshotsListed = Outcome<csi::v1::ListSnapshotsResponse>;
  using SnapshotDeleted = Outcome<csi::v1::DeleteSnapshotResponse>;
  using Modified = Outcome<csi::v1::ControllerModifyVolumeResponse>;

  Created Create(const csi::v1::CreateVolumeRequest& request,
                 std::chrono::milliseconds limit = kCallMsMax) {
    return Call<csi::v1::CreateVolumeResponse>(limit, [&](auto* context, auto* reply) {
      return stub_->CreateVolume(context, request, reply);
    });
  }
  Created Create(const std::string& name, const Parameters& parameters = {}) {
    return Create(CreateRequest(name, parameters));
  }
  Deleted Delete(const std::string& id, std::chrono::milliseconds limit = kCallMsMax) {
    csi::v1::DeleteVolumeRequest request;
    request.set_volume_id(id);
    return Call<csi::v1::DeleteVolumeResponse>(limit, [&](auto* context, auto* reply) {
      return stub_->DeleteVolume(context, request, reply);
    });
  }
  Snapped Snapshot(const std::string& name, const std::string& volume_id,
                   const Parameters& parameters = {}) {
    csi::v1::CreateSnapshotRequest request;
    request.set_name(name);
    request.set_source_volume_id(volume_id);
    for (const auto& [key, value] : parameters) (*request.mutable_parameters())[key] = value;
    return Call<csi::v1::CreateSnapshotResponse>(kCallMsMax, [&](auto* context, auto* reply) {
      return stub_->CreateSnapshot(context, request, reply);
    });
  }
  SnapshotDeleted DeleteSnapshot(const std::string& id) {
    csi::v1::DeleteSnapshotRequest request;
    request.set_snapshot_id(id);
    return Call<csi::v1::DeleteSnapshotResponse>(kCallMsMax, [&](auto* context, auto* reply) {
      return stub_->DeleteSnapshot(context, request, reply);
    });
  }
  SnapshotsListed ListSnapshots(const std::string& volume_id = {}, int32_t max_entries = 0,
                                const std::string& token = {}) {
    csi::v1::ListSnapshotsRequest request;
    request.set_source_volume_id(volume_id);
    request.set_max_entries(max_entries);
    request.set_starting_token(token);
    return Call<csi::v1::ListSnapshotsResponse>(kCallMsMax, [&](auto* context, auto* reply) {
      return stub_->ListSnapshots(context, request, reply);
    });
  }
  Modified Modify(const std::string& id, const Parameters& parameters) {
    csi::v1::ControllerModifyVolumeRequest request;
    request.set_volume_id(id);
    for (const auto& [key, value] : parameters) {
      (*request.mutable_mutable_parameters())[key] = value;
    }
    return Call<csi::v1::ControllerModifyVolumeResponse>(
        kCallMsMax, [&](auto* context, auto* reply) {
          return stub_->ControllerModifyVolume(context, request, reply);
        });
  }
  Listed List(int32_t max_entries = 0, const std::string& token = {},
              std::chrono::milliseconds limit = kCallMsMax) {
    csi::v1::ListVolumesRequest request;
    request.set_max_entries(max_entries);
    request.set_starting_token(token);
    return Call<csi::v1::ListVolumesResponse>(limit, [&](auto* context, auto* reply) {
      return stub_->ListVolumes(context, request, reply);
    });
  }

 private:
  template <class Reply, class Send>
  Outcome<Reply> Call(std::chrono::milliseconds limit, const Send& send) {
    Outcome<Reply> outcome;
    const auto context = lab::Within(limit);
    context->set_wait_for_ready(true);  // gantryd may be starting again.
    const auto begin = std::chrono::steady_clock::now();
    outcome.status = send(context.get(), &outcome.reply);
    outcome.took = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - begin);
    return outcome;
  }

  std::unique_ptr<csi::v1::Controller::Stub> stub_;
};

// "nfs:<handle>" -> "<handle>"
inline std::string HandleOf(const std::string& id) { return id.substr(id.find(':') + 1); }

inline Names NamesIn(const std::filesystem::path& directory) {
  Names names;
  std::error_code gone;
  for (const auto& entry : std::filesystem::directory_iterator(directory, gone)) {
    names.insert(entry.path().filename());
  }
  return names;
}

// Everything below a directory, with what is in the files. Others may be at work there.
inline std::map<std::string, std::string> TreeOf(const std::filesystem::path& top) {
  std::map<std::string, std::string> tree;
  std::error_code gone;
  for (std::filesystem::recursive_directory_iterator at(top, gone), end; at != end;
       at.increment(gone)) {
    std::string what = "directory";
    if (at->is_symlink(gone)) {
      what = "-> " + std::filesystem::read_symlink(at->path(), gone).string();
    } else if (!at->is_directory(gone)) {
      what = "file " + base::ReadFile(at->path(), 1 << 20).value_or("(unreadable)");
    }
    tree[at->path().lexically_relative(top)] = what;
  }
  return tree;
}

inline bool WaitFor(const std::function<bool()>& condition,
                    std::chrono::milliseconds limit = kSettleMsMax) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    poll(nullptr, 0, 10);  // Nothing tells when a file on the server has changed.
  }
  return true;
}

// Live volumes: their directory's name on the share, and their handle.
using Live = std::map<std::string, std::string>;

// The share holds these volumes' directories, records and claims (and `others` beside them), each
// once. What attempts/ and trash/ hold meanwhile is looked at by ExpectNothingLeft.
inline void ExpectExactly(const std::filesystem::path& root, const Live& live,
                          const Names& others = {}) {
  Names directories = others;
  Names handles;
  Names claimed;
  for (const auto& [name, handle] : live) {
    directories.insert(name);
    handles.insert(handle);
    claimed.insert(name);
  }
  directories.insert(".gantry");
  EXPECT_EQ(NamesIn(root), directories);
  EXPECT_EQ(NamesIn(root / ".gantry/volumes"), handles);
  EXPECT_EQ(NamesIn(root / ".gantry/claims"), claimed);
  for (const auto& name : claimed) {
    EXPECT_EQ(NamesIn(root / ".gantry/claims" / name), Names{"=claim"}) << name;
  }
}

// Empties count as being made for ten minutes, and a dead one's lease holds for half a minute:
// here all of them were made eleven minutes ago.
inline void Age(const std::filesystem::path& root) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  const timespec then{now.tv_sec - 660, 0};
  const timespec times[] = {then, then};
  for (const char* part : {"attempts", "trash"}) {
    const auto directory = root / ".gantry" / part;
    for (const auto& name : NamesIn(directory)) {
      utimensat(AT_FDCWD, (directory / name).c_str(), times, AT_SYMLINK_NOFOLLOW);
    }
  }
}

// What crashes have left is gone once the trash task has run. Starts the server and gantryd anew:
// the one has old times in its cache, the other lists its tasks then.
inline void ExpectNothingLeft(lab::Ganesha& server, lab::Gantryd& host,
                              const std::vector<std::filesystem::path>& roots) {
  ASSERT_TRUE(host.Kill(SIGKILL));
  ASSERT_TRUE(server.Stop());
  for (const auto& root : roots) Age(root);
  ASSERT_TRUE(server.Restart());
  ASSERT_TRUE(host.Restart());
  for (const auto& root : roots) {
    const auto attempts = root / ".gantry/attempts";
    const auto trash = root / ".gantry/trash";
    EXPECT_TRUE(WaitFor([&] { return NamesIn(attempts).empty() && NamesIn(trash).empty(); }))
        << "attempts: " << testing::PrintToString(TreeOf(attempts))
        << "\ntrash: " << testing::PrintToString(TreeOf(trash));
  }
}

// SIGKILL to a backend's workers, and they are gone on return.
inline void KillWorkers(const lab::Gantryd& host, const std::string& backend) {
  for (const pid_t pid : host.WorkerPids(backend)) {
    kill(pid, SIGKILL);
    EXPECT_TRUE(WaitFor([&] {
      const auto pids = host.WorkerPids(backend);  // A zombie has no command line.
      return std::find(pids.begin(), pids.end(), pid) == pids.end();
    }));
  }
}

}  // namespace gantry::itest
