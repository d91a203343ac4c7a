// SPDX-License-Identifier: Apache-2.0
// What the tests of the CephFS controller share: a gantryd over a real cluster, the controller's calls
// that NFS has no use for, and a look behind the backend at what the cluster really holds.
#pragma once

#include <cephfs/libcephfs.h>

#include <fstream>

#include "host/base/temp_dir.hpp"
#include "plugins/cephfs/backend/subvolumes.hpp"
#include "plugins/cephfs/cluster/cluster.hpp"
#include "plugins/cephfs/context/context.hpp"
#include "plugins/cephfs/keys/seal.hpp"
#include "tests/integration/nfs_lab.hpp"
#include "tests/lab/ceph.hpp"

namespace gantry::itest {

using lab::CephDaemon;

inline constexpr int kTimeoutSeconds = 4;                       // of one request to the cluster
inline constexpr std::chrono::milliseconds kBoundMsMax{8'000};  // of a call, the cluster being away
// A manager that was killed leaves its CephFS session behind, and the next one's commands may wait
// until the MDS gives that up, which is after 60 s (session_timeout).
inline constexpr std::chrono::seconds kEndMax{100};
inline const std::string kSealKey = "a key of at least thirty-two bytes";
inline const std::string kGroup = "lab";

struct CephHost {
  int uid = 0;            // the worker's
  std::string more = {};  // of the backend's configuration, ", nodeKeys: perVolume"
  std::string role = "controller";
  std::string user = "admin";
  std::string key = {};  // empty: the administrator's
  int timeout_seconds = kTimeoutSeconds;
  std::string node_id = "node-1";
};

// A cluster and its administrator.
class CephCluster {
 public:
  static std::unique_ptr<CephCluster> Start(lab::CephOptions options = {}) {
    auto ceph = lab::Ceph::Start(std::move(options));
    if (!ceph) {
      ADD_FAILURE() << ceph.error().message;
      return nullptr;
    }
    return std::unique_ptr<CephCluster>(new CephCluster(std::move(*ceph)));
  }

  lab::Ceph& ceph() { return ceph_; }

  static cephfs::TimePoint Soon() { return std::chrono::steady_clock::now() + 30s; }

  // Names of the subvolumes of the group.
  Names Subvolumes(const std::string& group = kGroup) {
    const auto listed = subvolumes_.List(group, Soon());
    EXPECT_TRUE(listed) << listed.error().message;
    return listed ? Names(listed->begin(), listed->end()) : Names();
  }
  std::optional<cephfs::SubvolumeInfo> Info(const std::string& name) {
    auto info = subvolumes_.Info({kGroup, name}, Soon());
    EXPECT_TRUE(info) << info.error().message;
    return info ? *info : std::nullopt;
  }
  Names Snapshots(const std::string& subvolume) {
    const auto listed = subvolumes_.ListSnapshots({kGroup, subvolume}, Soon());
    EXPECT_TRUE(listed) << listed.error().message;
    return listed ? Names(listed->begin(), listed->end()) : Names();
  }
  bool CancelClone(const std::string& name) {
    return subvolumes_.CancelClone({kGroup, name}, Soon()).has_value();
  }
  // A monitor's command that has to go well; its answer.
  std::string Order(nlohmann::json command) {
    const auto done = cluster_.AskMonitor(std::move(command), Soon());
    EXPECT_TRUE(done) << done.error().message;
    EXPECT_TRUE(!done || done->ok()) << done->words;
    return done ? done->out : "";
  }
  // How long the module waits with a clone that it is asked for; 0: not at all.
  void DelayClones(std::chrono::seconds time) {
    Order({{"prefix", "config set"},
           {"who", "mgr"},
           {"name", "mgr/volumes/snapshot_clone_delay"},
           {"value", std::to_string(time.count())}});
  }
  // The cluster's users that Gantry has made.
  Names Entities() {
    Names names;
    const auto all = nlohmann::json::parse(Order({{"prefix", "auth ls"}}), nullptr, false);
    for (const auto& one : all.value("auth_dump", nlohmann::json::array()))
      if (const auto name = one.value("entity", ""); name.starts_with("client.gantry."))
        names.insert(name);
    return names;
  }
  cephfs::CloneState StateOfClone(const std::string& name) {
    const auto status = subvolumes_.StatusOfClone({kGroup, name}, Soon());
    return status ? status->state : cephfs::CloneState::kNone;
  }
  const cephfs::Subvolumes& module() const { return subvolumes_; }

  // A gantryd whose backend "cephfs" has this cluster.
  std::unique_ptr<lab::Gantryd> StartHost(const CephHost& wanted) {
    WriteKey(wanted.key.empty() ? ceph_.admin_key() : wanted.key);
    lab::GantrydOptions options;
    options.backends =
        "  cephfs:\n    plugin: cephfs\n    owner: lab\n    uid: " + std::to_string(wanted.uid) +
        "\n    credentials: {key: " + key_file().string() + "}\n    config: {monitors: [\"" +
        ceph_.monitor() + "\"], fsName: " + ceph_.filesystem() + ", user: " + wanted.user +
        ", group: " + kGroup + ", timeoutSeconds: " + std::to_string(wanted.timeout_seconds) +
        wanted.more + "}\n    grants: {userspace: true}\n";
    options.driver_backends = "[cephfs]";
    options.role = wanted.role;
    options.node_id = wanted.node_id;
    auto host = lab::Gantryd::Start(std::move(options));
    if (!host) {
      ADD_FAILURE() << host.error().message;
      return nullptr;
    }
    return std::move(*host);
  }
  std::unique_ptr<lab::Gantryd> StartHost(int uid, const std::string& more = {}) {
    return StartHost(CephHost{.uid = uid, .more = more});
  }
  std::filesystem::path key_file() const { return files_.path() / "key"; }
  // Renamed into place, as a mounted Secret is.
  void WriteKey(const std::string& key) {
    std::ofstream(files_.path() / "new") << key << "\n";
    std::filesystem::rename(files_.path() / "new", key_file());
  }

 private:
  explicit CephCluster(lab::Ceph ceph)
      : ceph_(std::move(ceph)),
        cluster_({cephfs::MonHost({ceph_.monitor()}), "admin", ceph_.filesystem(), "", "lab", 30s},
                 [this](cephfs::TimePoint) -> plugin::Result<cephfs::SecretText> {
                   return cephfs::SecretText(ceph_.admin_key());
                 }),
        subvolumes_(&cluster_, ceph_.filesystem()) {}

  lab::Ceph ceph_;
  base::TempDir files_;
  cephfs::Cluster cluster_;
  cephfs::Subvolumes subvolumes_;
};

// More of the controller's calls. Any thread.
class CephController : public Controller {
 public:
  explicit CephController(const lab::Gantryd& host)
      : Controller(host), more_(csi::v1::Controller::NewStub(host.Connect())) {}

  using Got = Outcome<csi::v1::ControllerGetVolumeResponse>;
  using Expanded = Outcome<csi::v1::ControllerExpandVolumeResponse>;
  using Capacity = Outcome<csi::v1::GetCapacityResponse>;
  using Published = Outcome<csi::v1::ControllerPublishVolumeResponse>;
  using Unpublished = Outcome<csi::v1::ControllerUnpublishVolumeResponse>;
  using Validated = Outcome<csi::v1::ValidateVolumeCapabilitiesResponse>;

  Got Get(const std::string& id) {
    csi::v1::ControllerGetVolumeRequest request;
    request.set_volume_id(id);
    return Ask<csi::v1::ControllerGetVolumeResponse>([&](auto* context, auto* reply) {
      return more_->ControllerGetVolume(context, request, reply);
    });
  }
  Expanded Expand(const std::string& id, int64_t bytes) {
    csi::v1::ControllerExpandVolumeRequest request;
    request.set_volume_id(id);
    request.mutable_capacity_range()->set_required_bytes(bytes);
    return Ask<csi::v1::ControllerExpandVolumeResponse>([&](auto* context, auto* reply) {
      return more_->ControllerExpandVolume(context, request, reply);
    });
  }
  Capacity FreeBytes(const Parameters& parameters = {}) {
    csi::v1::GetCapacityRequest request;
    for (const auto& [key, value] : parameters) (*request.mutable_parameters())[key] = value;
    return Ask<csi::v1::GetCapacityResponse>(
        [&](auto* context, auto* reply) { return more_->GetCapacity(context, request, reply); });
  }
  Published Publish(const csi::v1::Volume& volume, const std::string& node, bool readonly = false,
                    const std::string& seal_key = kSealKey) {
    csi::v1::ControllerPublishVolumeRequest request;
    request.set_volume_id(volume.volume_id());
    request.set_node_id(node);
    request.set_readonly(readonly);
    *request.mutable_volume_context() = volume.volume_context();
    if (!seal_key.empty()) (*request.mutable_secrets())["sealKey"] = seal_key;
    auto* capability = request.mutable_volume_capability();
    capability->mutable_mount();
    capability->mutable_access_mode()->set_mode(
        csi::v1::VolumeCapability::AccessMode::MULTI_NODE_MULTI_WRITER);
    return Ask<csi::v1::ControllerPublishVolumeResponse>([&](auto* context, auto* reply) {
      return more_->ControllerPublishVolume(context, request, reply);
    });
  }
  Validated Validate(const csi::v1::Volume& volume) {
    csi::v1::ValidateVolumeCapabilitiesRequest request;
    request.set_volume_id(volume.volume_id());
    *request.mutable_volume_context() = volume.volume_context();
    auto* capability = request.add_volume_capabilities();
    capability->mutable_mount();
    capability->mutable_access_mode()->set_mode(
        csi::v1::VolumeCapability::AccessMode::MULTI_NODE_MULTI_WRITER);
    return Ask<csi::v1::ValidateVolumeCapabilitiesResponse>([&](auto* context, auto* reply) {
      return more_->ValidateVolumeCapabilities(context, request, reply);
    });
  }
  Unpublished Unpublish(const std::string& id, const std::string& node) {
    csi::v1::ControllerUnpublishVolumeRequest request;
    request.set_volume_id(id);
    request.set_node_id(node);
    return Ask<csi::v1::ControllerUnpublishVolumeResponse>([&](auto* context, auto* reply) {
      return more_->ControllerUnpublishVolume(context, request, reply);
    });
  }

  // As a CO does it: what is not final is asked again.
  Created CreateInTheEnd(const csi::v1::CreateVolumeRequest& request) {
    Created created = Create(request);
    WaitFor(
        [&] {
          if (created.code() != grpc::StatusCode::ABORTED &&
              created.code() != grpc::StatusCode::UNAVAILABLE)
            return true;
          created = Create(request);
          return created.ok();
        },
        kEndMax);
    return created;
  }
  Deleted DeleteInTheEnd(const std::string& id) {
    Deleted deleted = Delete(id);
    WaitFor(
        [&] {
          if (deleted.code() != grpc::StatusCode::ABORTED &&
              deleted.code() != grpc::StatusCode::UNAVAILABLE)
            return true;
          deleted = Delete(id);
          return deleted.ok();
        },
        kEndMax);
    return deleted;
  }

 private:
  template <class Reply, class Send>
  Outcome<Reply> Ask(const Send& send) {
    Outcome<Reply> outcome;
    const auto context = lab::Within(kCallMsMax);
    context->set_wait_for_ready(true);
    const auto begin = std::chrono::steady_clock::now();
    outcome.status = send(context.get(), &outcome.reply);
    outcome.took = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - begin);
    return outcome;
  }

  std::unique_ptr<csi::v1::Controller::Stub> more_;
};

// A client with one user's key. Of an evicted one nothing is unmounted: libcephfs may wait then.
class CephClient {
 public:
  CephClient(lab::Ceph& ceph, const std::string& user, const std::string& key) {
    EXPECT_EQ(ceph_create(&mount_, user.c_str()), 0);
    for (const auto& [name, value] :
         {std::pair{"mon_host", "[v2:" + ceph.monitor() + "]"}, std::pair{"key", key},
          std::pair{"keyring", std::string("/dev/null")}, std::pair{"log_file", std::string()},
          std::pair{"log_to_stderr", std::string("false")},
          std::pair{"client_mount_timeout", std::string("10")},
          std::pair{"client_oc", std::string("false")}})
      EXPECT_EQ(ceph_conf_set(mount_, name, value.c_str()), 0) << name;
    EXPECT_EQ(ceph_select_filesystem(mount_, ceph.filesystem().c_str()), 0);
  }
  ~CephClient() {
    if (mounted_ && evicted_) {
      ceph_abort_conn(mount_);
    } else if (mounted_) {
      ceph_unmount(mount_);
    }
    ceph_release(mount_);
  }
  CephClient(const CephClient&) = delete;
  CephClient& operator=(const CephClient&) = delete;

  int Mount(const std::string& path) {
    const int number = ceph_mount(mount_, path.c_str());
    mounted_ = number == 0;
    return number;
  }
  // Bytes written, or a negative errno.
  int Write(const std::string& path, const std::string& text) {
    const int fd = ceph_open(mount_, path.c_str(), O_CREAT | O_WRONLY, 0644);
    if (fd < 0) return fd;
    const int written = ceph_write(mount_, fd, text.data(), static_cast<int64_t>(text.size()), 0);
    ceph_close(mount_, fd);
    return written;
  }
  std::string Read(const std::string& path) {
    const int fd = ceph_open(mount_, path.c_str(), O_RDONLY, 0);
    if (fd < 0) return "errno " + std::to_string(-fd);
    std::string text(4096, '\0');
    const int got = ceph_read(mount_, fd, text.data(), static_cast<int64_t>(text.size()), 0);
    ceph_close(mount_, fd);
    return got < 0 ? "errno " + std::to_string(-got) : text.substr(0, static_cast<size_t>(got));
  }
  void WasEvicted() { evicted_ = true; }
  ceph_mount_info* get() const { return mount_; }

 private:
  ceph_mount_info* mount_ = nullptr;
  bool mounted_ = false;
  bool evicted_ = false;
};

inline const std::string& PathOf(const csi::v1::Volume& volume) {
  return volume.volume_context().at("path");
}
// Of "/volumes/<group>/<subvolume>/<uuid>".
inline std::string SubvolumeOf(const csi::v1::Volume& volume) {
  return std::filesystem::path(PathOf(volume)).parent_path().filename();
}

}  // namespace gantry::itest
