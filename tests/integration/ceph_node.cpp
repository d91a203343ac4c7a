// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/ceph_node.hpp"

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <utility>

#include "plugins/cephfs/context/context.hpp"
#include "plugins/cephfs/keys/seal.hpp"

namespace gantry::tests {
namespace {

constexpr const char* kGroup = "csi";
constexpr const char* kSealKey = "a key that is long enough to seal others";
constexpr const char* kIncarnation = "1";

template <class T>
T Need(base::Result<T> result, const char* what) {
  if (!result) throw std::runtime_error(std::string(what) + ": " + result.error().message);
  return std::move(*result);
}

}  // namespace

CephNode::CephNode(const std::vector<std::string>& clusters, const std::string& grants,
                   const lab::CephOptions& of_cluster) {
  std::string backends;
  std::string names;
  uint32_t uid = kBackendUid;
  for (const auto& name : clusters) {
    const char* const there = std::getenv("GANTRY_CEPH_DIR");
    auto& cluster = clusters_[name] = std::make_unique<lab::Ceph>(
        Need(there != nullptr ? lab::Ceph::Adopt(there) : lab::Ceph::Start(of_cluster),
             "a Ceph cluster"));
    backends += "  " + name +
                ":\n    plugin: cephfs\n    owner: test\n    uid: " + std::to_string(uid++) +
                "\n    config: {monitors: [\"" + cluster->monitor() +
                "\"], fsName: " + cluster->filesystem() + ", user: admin}\n" + "    grants: {" +
                grants + "}\n";
    names += (names.empty() ? "" : ", ") + name;
    admins_[name] = std::make_unique<CephAdmin>(*cluster);
    admins_[name]->Manager({{"prefix", "fs subvolumegroup create"},
                            {"vol_name", cluster->filesystem()},
                            {"group_name", kGroup}});
  }
  lab::GantrydOptions options;
  options.backends = backends;
  options.driver_backends = "[" + names + "]";
  StartHost(std::move(options));
}

CephVolume CephNode::Make(const std::string& name, uint64_t bytes, const std::string& cluster) {
  lab::Ceph& ceph = *clusters_.at(cluster);
  CephVolume volume;
  volume.name = name;
  volume.cluster = cluster;
  volume.id = cluster + ":" + name;
  CephAdmin& admin = *admins_.at(cluster);
  nlohmann::json command = {{"prefix", "fs subvolume create"},
                            {"vol_name", ceph.filesystem()},
                            {"sub_name", name},
                            {"group_name", kGroup}};
  command["size"] = bytes;
  command["mode"] = "777";
  admin.Manager(command);
  command.erase("size");
  command.erase("mode");
  command["prefix"] = "fs subvolume getpath";
  volume.path = admin.Manager(command);
  volume.key = admin.Monitor({{"prefix", "auth get-or-create-key"},
                              {"entity", "client." + name},
                              {"caps",
                               {"mds", "allow rw path=" + volume.path, "mon", "allow r", "osd",
                                "allow rw tag cephfs data=" + ceph.filesystem()}}});
  cephfs::VolumeContext context;
  context.monitors = {ceph.monitor()};
  context.fsid = ceph.fsid();
  context.fs_name = ceph.filesystem();
  context.path = volume.path;
  context.incarnation = kIncarnation;
  volume.context = cephfs::Encode(context);
  // As ControllerPublishVolume would have made it for this node.
  const auto sealed = cephfs::Seal(kSealKey, {name, kIncarnation, "node-1", name}, volume.key);
  if (!sealed) throw std::runtime_error("seal: " + sealed.error().message);
  volume.publish_context = cephfs::Encode(cephfs::PublishContext{name, *sealed, false});
  volume.secrets = {{std::string(cephfs::kSealKeySecret), kSealKey}};
  volume.staging = StagingPath(name);
  volume.target = PodTarget(name);
  return volume;
}

CephVolume CephNode::Again(const CephVolume& volume, const std::string& suffix) const {
  CephVolume again = volume;
  again.id = volume.id + suffix;
  // By one key for all nodes, the other way to have one.
  again.publish_context.clear();
  again.secrets = {{std::string(cephfs::kUserSecret), volume.name},
                   {std::string(cephfs::kKeySecret), volume.key}};
  again.staging = StagingPath(volume.name + suffix);
  again.target = PodTarget(volume.name + suffix);
  return again;
}

void CephNode::Resize(const CephVolume& volume, uint64_t bytes) {
  admins_.at(volume.cluster)
      ->Manager({{"prefix", "fs subvolume resize"},
                 {"vol_name", clusters_.at(volume.cluster)->filesystem()},
                 {"sub_name", volume.name},
                 {"new_size", std::to_string(bytes)},
                 {"group_name", kGroup}});
}

void CephNode::Evict(const CephVolume& volume) {
  CephAdmin& admin = *admins_.at(volume.cluster);
  size_t evicted = 0;
  for (const auto& session : nlohmann::json::parse(
           admin.MetadataServer({{"prefix", "session ls"}, {"format", "json"}}))) {
    if (session.at("client_metadata").value("entity_id", "") != volume.name) continue;
    admin.MetadataServer({{"prefix", "client evict"},
                          {"filters", {"id=" + std::to_string(session.at("id").get<int64_t>())}}});
    ++evicted;
  }
  if (evicted != 1) throw std::runtime_error("evicted " + std::to_string(evicted) + " sessions");
}

void CephNode::Start(const CephVolume& volume) {
  if (const auto status = Stage(volume); !status.ok())
    throw std::runtime_error("NodeStageVolume: " + Text(status));
  if (const auto status = Publish(volume); !status.ok())
    throw std::runtime_error("NodePublishVolume: " + Text(status));
}

grpc::Status CephNode::End(const CephVolume& volume) {
  if (auto status = Unpublish(volume); !status.ok()) return status;
  return Unstage(volume);
}

}  // namespace gantry::tests
