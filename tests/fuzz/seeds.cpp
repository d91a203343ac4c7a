// SPDX-License-Identifier: Apache-2.0
// Writes the seeds that are no text: real values, as the code itself encodes them, for a fuzzer to
// start from. Run after a format has changed; what fuzzing has found stays beside them.
//
// usage: fuzz_seeds CORPUS
#include <csi/v1/csi.pb.h>
#include <gantry/admin.pb.h>
#include <gantry/channel.pb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>

#include "host/core/testing.hpp"
#include "host/services/helper_protocol.hpp"
#include "host/services/node_state.hpp"
#include "host/swap/journal.hpp"
#include "host/wire/data_path_description.hpp"
#include "host/wire/frame.hpp"
#include "host/wire/job_reply.hpp"
#include "host/wire/keeper_protocol.hpp"
#include "host/wire/log_pipe.hpp"
#include "plugins/common/record.hpp"
#include "plugins/nfs/rpc/test_wire.hpp"

namespace {

using namespace gantry;  // NOLINT(google-build-using-namespace)
using nfs::test::Xdr;

std::filesystem::path corpus;

void Write(const std::string& target, const std::string& name, const std::string& bytes) {
  std::filesystem::create_directories(corpus / target);
  std::ofstream(corpus / target / name, std::ios::binary) << bytes;
}

std::string Sized(const std::string& bytes) {
  return std::string{static_cast<char>(bytes.size() & 0xff),
                     static_cast<char>(bytes.size() >> 8 & 0xff)} +
         bytes;
}
template <class Message>
std::string Sized(const Message& message) {
  return Sized(message.SerializeAsString());
}

std::string Frame(wire::Kind kind, uint64_t id, const std::string& payload, bool more = false) {
  wire::FrameHeader header;
  header.kind = static_cast<uint8_t>(kind);
  header.flags = more ? wire::kFlagMore : 0;
  header.call_id = id;
  header.length = static_cast<uint32_t>(payload.size());
  return std::string(reinterpret_cast<const char*>(&header), sizeof header) + payload;
}

channel::Emit FullVolume() {
  auto emit = core::testing::VolumeEmit("0123abcd");
  auto& volume = *emit.mutable_volume();
  (*volume.mutable_context())["server"] = "nas";
  volume.set_content_kind(1);
  volume.set_content_handle("snap");
  volume.set_condition(2);
  volume.set_condition_message("lost");
  (*volume.add_topologies()->mutable_values())["zone"] = "a";
  volume.add_published_node_ids("node-1");
  return emit;
}

channel::Description Manifest() {
  auto description = core::testing::Describe(core::testing::AllOperations());
  description.set_name("nfs");
  description.set_version("1.0.0");
  description.add_topology_keys("zone");
  description.set_record_format_min(1);
  description.set_record_format_max(2);
  description.set_context_format_max(1);
  return description;
}

void Channel() {
  channel::Finish finish;
  finish.set_code(3);
  finish.set_message("no");
  const auto volume = FullVolume().SerializeAsString();
  const auto end = Frame(wire::Kind::kFinish, 1, channel::Finish().SerializeAsString());
  const auto stream = Frame(wire::Kind::kEmit, 1, volume) + end;
  channel::Emit manifest;
  *manifest.mutable_description() = Manifest();
  Write("worker_messages", "volume", stream);
  Write(
      "worker_messages", "snapshot",
      Frame(wire::Kind::kEmit, 1, core::testing::SnapshotEmit("snap", "vol").SerializeAsString()) +
          end);
  Write("worker_messages", "refusal", Frame(wire::Kind::kFinish, 1, finish.SerializeAsString()));
  Write("worker_messages", "manifest",
        Frame(wire::Kind::kEmit, 1, manifest.SerializeAsString()) + end);
  Write("worker_messages", "unreadable", Frame(wire::Kind::kEmit, 1, "\x12\x03\x0a\x01\xff") + end);
  Write("frames", "emit-and-finish", "\x03" + stream);
  Write("frames", "direct", std::string(1, '\0') + stream);
  Write("frames", "chunks",
        "\x20" + Frame(wire::Kind::kCall, 7, "first ", true) + Frame(wire::Kind::kPing, 1, "") +
            Frame(wire::Kind::kCall, 7, "second"));
  Write("frames", "secrets",
        "\x07" + Frame(wire::Kind::kSecrets, 9, "\x0a\x06\x0a\x01k\x12\x01v") +
            Frame(wire::Kind::kSecretReply, 2, "key"));
  Write("manifest", "same", Sized(Manifest()) + Manifest().SerializeAsString());
  auto less = Manifest();
  less.clear_slots();
  less.set_record_format_max(1);
  Write("manifest", "less", Sized(Manifest()) + less.SerializeAsString());
  Write("manifest", "nothing", Sized(channel::Description()));

  channel::HostCall call;
  call.set_deadline_ns(INT64_MAX);
  std::string calls;
  call.mutable_kv_put()->set_key("state");
  call.mutable_kv_put()->set_value("value");
  calls += Sized(call);
  call.mutable_kv_get()->set_key("state");
  calls += Sized(call);
  call.mutable_kv_scan()->set_prefix("st");
  calls += Sized(call);
  call.mutable_kv_remove()->set_key("state");
  call.mutable_kv_remove()->set_expected_version(1);
  Write("host_calls", "kv", calls + Sized(call));
  call.mutable_exec()->add_argv("mkfs");
  call.mutable_exec()->add_argv("-f");
  calls = Sized(call);
  call.mutable_secret_get()->set_name("key");
  calls += Sized(call);
  call.mutable_count()->set_name("mounts");
  call.mutable_count()->set_add(2);
  Write("host_calls", "others", calls + Sized(call));
}

std::string LogRecord(uint8_t level, const std::string& text) {
  wire::LogRecordHeader header{{}, wire::kLogVersion, level, static_cast<uint16_t>(text.size())};
  wire::kLogMagic.copy(header.magic, sizeof header.magic);
  return std::string(reinterpret_cast<const char*>(&header), sizeof header) + text;
}

// What one datagram of a keeper's socket has.
std::string Datagram(const wire::KeeperMessage& message) {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) != 0) std::abort();
  if (!wire::SendKeeper(fds[0], message)) std::abort();
  std::string bytes(wire::kKeeperMessageBytesMax, '\0');
  bytes.resize(static_cast<size_t>(recv(fds[1], bytes.data(), bytes.size(), 0)));
  close(fds[0]);
  close(fds[1]);
  return bytes;
}

void Node() {
  Write("log_pipe", "records",
        "\x05" + LogRecord(1, "[abc] mounted") + "a line of stderr\n" + LogRecord(0xFF, "12") +
            "half a line");
  wire::KeeperMessage spawn;
  spawn.kind = wire::KeeperKind::kSpawn;
  spawn.id = 1;
  spawn.Add(wire::KeeperTag::kVolume, "fast:1").Add(wire::KeeperTag::kArgument, "--datapath");
  Write("keeper_protocol", "spawn", Datagram(spawn));
  wire::KeeperMessage region;
  region.kind = wire::KeeperKind::kRegion;
  region.Add(wire::KeeperTag::kName, "slots").Add(wire::KeeperTag::kBytes, uint64_t{4096});
  Write("keeper_protocol", "region", Datagram(region));
  const auto job = [](int32_t code, const std::string& output) {
    const wire::JobReply header{wire::kJobReplyMagic, code, output.size()};
    return std::string(reinterpret_cast<const char*>(&header), sizeof header) + output;
  };
  Write("keeper_protocol", "job-output", job(0, "output"));
  Write("keeper_protocol", "job-refusal", job(9, ""));

  wire::DataPathDescription description;
  description.volume_id = "fast:1";
  description.backend = "fast";
  description.plugin = "/var/lib/gantry/store/x.so";
  description.config_json = "{}";
  description.parameters = {{"server", "nas"}, {"share", "/x"}};
  description.capabilities = {"NET_BIND_SERVICE"};
  description.uid = 61001;
  description.gid = 61001;
  description.disk = true;
  description.identity = "naa.6000";
  description.size_bytes = uint64_t{1} << 30;
  description.secrets["password"] = base::SecretBytes("hush");
  const auto sealed = wire::SealDescription(description);
  std::string bytes(wire::kDescriptionBytesMax, '\0');
  bytes.resize(static_cast<size_t>(pread(sealed->get(), bytes.data(), bytes.size(), 0)));
  Write("data_path_description", "whole", bytes);

  swap::JournalEntry entry;
  entry.active = {"nfs", std::string(64, 'a'), "{}", 1, 1, "nfs", "1.0.0"};
  entry.standby = entry.active;
  entry.swap.id = "fast-1";
  entry.swap.steps = {{"preflight", core::WallTime(std::chrono::seconds(1)), "loads"}};
  entry.swap.error = base::Error{base::Code::kAborted, "rolled back"};
  Write("node_files", "journal", "journal\n" + swap::EncodeJournal(entry));
  core::NodeVolume volume;
  volume.volume_id = "fast:1";
  volume.backend = "fast";
  volume.handle = "1";
  volume.staging_path = "/var/lib/kubelet/staging";
  volume.stage_request = "\x0a\x06 fast:1";
  volume.targets = {{"/var/lib/kubelet/pods/1/mount", true, "abc"}};
  Write("node_files", "node-state", "node state\n" + *services::EncodeNodeVolume(volume));
  services::HelperRequest request;
  request.path = "staging";
  request.options = {"vers=3"};
  request.group = 1000;
  Write("node_files", "helper-request", "helper\n" + services::Encode(request));
  Write("node_files", "helper-reply", "helper\n" + services::Encode(services::HelperReply{}));
}

csi::v1::VolumeCapability Capability() {
  auto capability = core::testing::MountCapability();
  capability.mutable_mount()->set_fs_type("ext4");
  capability.mutable_mount()->add_mount_flags("noatime");
  return capability;
}

template <class Request>
std::string Call(char method, const Request& request, const std::string& emits = {}) {
  return std::string(1, method) + Sized(request) + Sized(emits);
}

// The numbers are those of csi.cpp.
void Csi() {
  csi::v1::CreateVolumeRequest create;
  create.set_name("pvc-1");
  *create.add_volume_capabilities() = Capability();
  create.mutable_capacity_range()->set_required_bytes(1 << 20);
  (*create.mutable_parameters())["server"] = "nas";
  (*create.mutable_parameters())["csi.storage.k8s.io/pvc/name"] = "data";
  (*create.mutable_secrets())["password"] = "hush";
  create.mutable_volume_content_source()->mutable_snapshot()->set_snapshot_id("fast:s:snap");
  (*create.mutable_accessibility_requirements()->add_requisite()->mutable_segments())["zone"] = "a";
  csi::v1::DeleteVolumeRequest remove;
  remove.set_volume_id("fast:1");
  Write("csi", "create-and-delete", Call(0, create, Sized(FullVolume())) + Call(1, remove));
  csi::v1::ControllerPublishVolumeRequest publish;
  publish.set_volume_id("fast:1");
  publish.set_node_id("node-1");
  *publish.mutable_volume_capability() = Capability();
  channel::Emit context;
  (*context.mutable_publish_context()->mutable_values())["portal"] = "10.0.0.1";
  csi::v1::ControllerUnpublishVolumeRequest unpublish;
  unpublish.set_volume_id("fast:1");
  Write("csi", "publish", Call(2, publish, Sized(context)) + Call(3, unpublish));
  csi::v1::ValidateVolumeCapabilitiesRequest validate;
  validate.set_volume_id("fast:1");
  *validate.add_volume_capabilities() = Capability();
  csi::v1::ListVolumesRequest list;
  list.set_max_entries(2);
  list.set_starting_token("fast:0");
  csi::v1::GetCapacityRequest capacity;
  *capacity.add_volume_capabilities() = Capability();
  channel::Emit room;
  room.mutable_capacity()->set_available_bytes(1 << 30);
  room.mutable_capacity()->set_has_maximum(true);
  Write("csi", "look",
        Call(4, validate, Sized(FullVolume())) + Call(5, list, Sized(FullVolume())) +
            Call(6, capacity, Sized(room)));
  csi::v1::ControllerExpandVolumeRequest expand;
  expand.set_volume_id("fast:1");
  expand.mutable_capacity_range()->set_required_bytes(1 << 21);
  csi::v1::ControllerGetVolumeRequest get;
  get.set_volume_id("fast:1");
  csi::v1::ControllerModifyVolumeRequest modify;
  modify.set_volume_id("fast:1");
  (*modify.mutable_mutable_parameters())["iops"] = "10";
  Write("csi", "change",
        Call(7, expand, Sized(FullVolume())) + Call(8, get, Sized(FullVolume())) + Call(9, modify));
  csi::v1::CreateSnapshotRequest snap;
  snap.set_name("snap-1");
  snap.set_source_volume_id("fast:1");
  csi::v1::DeleteSnapshotRequest unsnap;
  unsnap.set_snapshot_id("fast:s:1");
  csi::v1::GetSnapshotRequest get_snapshot;
  get_snapshot.set_snapshot_id("fast:s:1");
  csi::v1::ListSnapshotsRequest snapshots;
  snapshots.set_source_volume_id("fast:1");
  const auto taken = Sized(core::testing::SnapshotEmit("1", "1"));
  Write("csi", "snapshots",
        Call(10, snap, taken) + Call(11, unsnap) + Call(12, get_snapshot, taken) +
            Call(13, snapshots, taken));
  csi::v1::CreateVolumeGroupSnapshotRequest group;
  group.set_name("group-1");
  group.add_source_volume_ids("fast:1");
  group.add_source_volume_ids("fast:2");
  channel::Emit made;
  made.mutable_group()->set_handle("g");
  made.mutable_group()->set_ready(true);
  Write("csi", "group", Call(14, group, Sized(made) + taken));
  csi::v1::NodeStageVolumeRequest stage;
  stage.set_volume_id("fast:1");
  stage.set_staging_target_path("/staging");
  *stage.mutable_volume_capability() = Capability();
  (*stage.mutable_secrets())["password"] = "hush";
  csi::v1::NodePublishVolumeRequest bind;
  bind.set_volume_id("fast:1");
  bind.set_staging_target_path("/staging");
  bind.set_target_path("/target");
  *bind.mutable_volume_capability() = Capability();
  csi::v1::NodeGetVolumeStatsRequest stats;
  stats.set_volume_id("fast:1");
  stats.set_volume_path("/target");
  csi::v1::NodeExpandVolumeRequest grow;
  grow.set_volume_id("fast:1");
  grow.set_volume_path("/target");
  csi::v1::NodeUnpublishVolumeRequest unbind;
  unbind.set_volume_id("fast:1");
  unbind.set_target_path("/target");
  csi::v1::NodeUnstageVolumeRequest unstage;
  unstage.set_volume_id("fast:1");
  unstage.set_staging_target_path("/staging");
  const auto source = Sized(core::testing::SourceEmit("nas:/x"));
  Write("csi", "node",
        Call(17, stage, source) + Call(19, bind) + Call(21, stats) + Call(22, grow, source) +
            Call(20, unbind) + Call(18, unstage));
  csi::v1::GetMetadataAllocatedRequest allocated;
  allocated.set_snapshot_id("fast:s:1");
  const auto ranges =
      Sized(core::testing::RangeEmit(0, 4096)) + Sized(core::testing::RangeEmit(8192, 4096));
  csi::v1::GetMetadataDeltaRequest delta;
  delta.set_base_snapshot_id("fast:s:1");
  delta.set_target_snapshot_id("fast:s:2");
  Write("csi", "metadata", Call(26, allocated, ranges) + Call(27, delta, ranges));
}

void Admin() {
  admin::v1::SwapRequest swap;
  swap.set_backend("fast");
  swap.set_plugin_file("/tmp/nfs.so");
  swap.set_shift_percent_start(10);
  swap.set_shift_ms(60000);
  Write("admin", "swap", "swap\n" + swap.SerializeAsString());
  admin::v1::ExplainRequest explain;
  explain.set_id("fast:staged");
  Write("admin", "explain", "explain\n" + explain.SerializeAsString());
  explain.set_id("fast:s:snap");
  Write("admin", "explain-snapshot", "explain\n" + explain.SerializeAsString());
  Write("admin", "list", "list\n" + Sized(std::string("\x10\x01")) + Sized(FullVolume()));
}

std::string Text(const Xdr& xdr) {
  return {reinterpret_cast<const char*>(xdr.bytes.data()), xdr.bytes.size()};
}
Xdr Ok() { return Xdr().U32(0); }

// Words: xid, REPLY, MSG_ACCEPTED, a verifier of no flavor and no bytes, SUCCESS.
std::string Reply(uint32_t xid, const Xdr& body) {
  Xdr record;
  record.U32(xid).U32(1).U32(0).U32(0).U32(0).U32(0).Append(body.bytes);
  return Text(Xdr().U32(0x80000000U | static_cast<uint32_t>(record.bytes.size()))) + Text(record);
}

void Nfs() {
  const auto attributes = Ok().Fattr();
  Xdr lookup = Ok();
  lookup.Opaque("handle--").U32(1).Fattr().U32(0);
  Xdr read = Ok();
  read.U32(1).Fattr().U32(4).U32(1).Opaque("data");
  Xdr names = Ok();
  names.U32(0).U64(7).U32(1).U64(11).Opaque("file").U64(1).U32(0).U32(1);
  Xdr plus = Ok();
  plus.U32(0).U64(7).U32(1).U64(11).Opaque("file").U64(1).U32(1).Fattr().U32(1).Opaque("handle--");
  plus.U32(0).U32(1);
  Xdr made = Ok();
  made.U32(1).Opaque("handle--").U32(1).Fattr().Wcc();
  Xdr mount = Ok();
  mount.Opaque("root----").U32(1).U32(1);
  const auto reply = [](char number, const Xdr& body) {
    return std::string(1, number) + Text(body);
  };
  Write("nfs_reply", "getattr", reply(1, attributes));
  Write("nfs_reply", "setattr", reply(2, Ok().Wcc()));
  Write("nfs_reply", "lookup", reply(3, lookup));
  Write("nfs_reply", "readlink", reply(5, Ok().U32(0).Opaque("target")));
  Write("nfs_reply", "read", reply(6, read));
  Write("nfs_reply", "write", reply(7, Ok().Wcc().U32(4).U32(2).U64(1)));
  Write("nfs_reply", "create", reply(8, made));
  Write("nfs_reply", "rename", reply(14, Ok().Wcc().Wcc()));
  Write("nfs_reply", "readdir", reply(16, names));
  Write("nfs_reply", "readdirplus", reply(17, plus));
  Write("nfs_reply", "fsstat",
        reply(18, Ok().U32(0).U64(1).U64(2).U64(3).U64(4).U64(5).U64(6).U32(7)));
  Write("nfs_reply", "refused", reply(3, Xdr().U32(2).U32(0)));
  Write("nfs_reply", "mount", reply(22, mount));
  Write("nfs_reply", "mount-refused", reply(22, Xdr().U32(13)));
  Write("nfs_reply", "head", std::string(1, 23) + Reply(1, attributes).substr(4));
  Write("nfs_reply", "head-mismatch",
        std::string(1, 23) + Text(Xdr().U32(1).U32(1).U32(0).U32(0).U32(0).U32(2).U32(2).U32(4)));
  Write("nfs_stream", "all",
        "\x02" + Reply(4, plus) + Reply(1, attributes) + Reply(3, read) + Reply(2, lookup));
  const auto whole = Reply(1, attributes);
  const auto half = (whole.size() - 4) / 2;
  Write("nfs_stream", "fragments",
        "\x01" + Text(Xdr().U32(static_cast<uint32_t>(half))) + whole.substr(4, half) +
            Text(Xdr().U32(0x80000000U | static_cast<uint32_t>(whole.size() - 4 - half))) +
            whole.substr(4 + half) + Reply(9, attributes));
  plugin::Record record;
  record.handle = "0123";
  record.name = "pvc-1";
  record.path = {"a", "b"};
  record.attempts = {{plugin::Attempt::Kind::kDelete, "00ff", 1, 2, true}};
  record.parameters = {{"server", "nas"}};
  Write("nfs_records", "record", "record\n" + plugin::Encode(record));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: fuzz_seeds CORPUS\n";
    return 2;
  }
  corpus = argv[1];
  Channel();
  Node();
  Csi();
  Admin();
  Nfs();
  return 0;
}
