// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/target/access.hpp"

#include <algorithm>
#include <utility>

#include "plugins/iscsi/target/crypto.hpp"
#include "plugins/iscsi/target/files.hpp"

namespace gantry::iscsi::target {
namespace {

using plugin::Fail;
using plugin::Result;
namespace code = plugin::code;

Result<SealKey> KeyOf(const Context& context) {
  if (context.config.chap_key_file.empty())
    return Fail(code::kFailedPrecondition,
                "chap: the target's configuration has no chap_key_file to keep secrets with");
  return SealKey::Read(context.config.chap_key_file);
}

std::string SealContext(const Record& record, const std::string& node_id) {
  return record.handle + "\n" + record.incarnation + "\n" + node_id;
}

// The same again is fine; another wish for the same node is not.
plugin::Status CheckSame(const Context& context, const Record& record,
                         const RecordedPublication& there, const PublishVolume& request) {
  const auto differs = [&](const std::string& what) {
    return Fail(code::kAlreadyExists, Named(record) + ": node " + request.node_id +
                                          " has it already, with another " + what);
  };
  if (there.node.initiator != request.initiator)
    return differs("initiator, " + there.node.initiator);
  if (there.node.readonly != request.readonly) return differs("readonly");
  if (there.node.single_node != request.single_node) return differs("single_node");
  if (there.node.chap != request.chap.has_value()) return differs("chap");
  if (!request.chap) return {};
  GANTRY_PLUGIN_TRY_ASSIGN(Chap chap, OpenChap(context, record, there));
  const bool is_same = chap == *request.chap;
  Wipe(&chap);
  if (!is_same) return differs("chap");
  return {};
}

plugin::Status CheckOthers(const Record& record, const PublishVolume& request) {
  for (const auto& other : record.nodes) {
    if (request.single_node || other.node.single_node)
      return Fail(code::kFailedPrecondition,
                  Named(record) + ": node " + other.node.node_id +
                      (other.node.single_node ? " has it for itself"
                                              : " has it, and this node wants it for itself"));
    if (other.node.initiator == request.initiator)
      return Fail(code::kFailedPrecondition, Named(record) + ": initiator " + request.initiator +
                                                 " is that of node " + other.node.node_id);
  }
  if (record.nodes.size() >= kNodesOfVolumeMax)
    return Fail(code::kResourceExhausted,
                Named(record) + ": " + std::to_string(kNodesOfVolumeMax) + " nodes have it");
  return {};
}

// The backing file as the record says; a volume that nobody had yet may have none.
plugin::Status EnsureImage(const Context& context, const Record& record) {
  if (const auto problem = context.store.ImageProblem(record); !problem.empty())
    return Fail(code::kFailedPrecondition, Named(record) + ": " + problem);
  if (record.was_published) return {};
  GANTRY_PLUGIN_TRY_ASSIGN(
      const auto fd, context.store.GrowImage(record, record.content.kind == ContentKind::kNone));
  return context.store.SyncImage(record, fd.get());
}

Result<Record> AddNode(const Context& context, Record record, const PublishVolume& request) {
  GANTRY_PLUGIN_TRY(CheckOthers(record, request));
  RecordedPublication publication;
  publication.node = {request.node_id, request.initiator, request.readonly, request.single_node,
                      request.chap.has_value()};
  if (request.chap) {
    GANTRY_PLUGIN_TRY_ASSIGN(const auto key, KeyOf(context));
    publication.chap_user = request.chap->user;
    GANTRY_PLUGIN_TRY_ASSIGN(publication.sealed_chap,
                             key.Seal(*request.chap, SealContext(record, request.node_id)));
  }
  const auto place = std::find_if(record.nodes.begin(), record.nodes.end(), [&](const auto& other) {
    return other.node.node_id > request.node_id;
  });
  record.nodes.insert(place, std::move(publication));
  if (!request.readonly) ++record.writers;
  GANTRY_PLUGIN_TRY(EnsureImage(context, record));
  record.was_published = true;
  return record;
}

// One node's way in, or all of them.
plugin::Status Close(const Context& context, const Record& record,
                     const std::vector<RecordedPublication>& leaving, Deadline deadline) {
  const std::string iqn = IqnOf(context.config.iqn_prefix, record.handle, record.incarnation);
  if (leaving.size() == record.nodes.size()) return context.kind.Remove(iqn, deadline);
  for (const auto& publication : leaving)
    GANTRY_PLUGIN_TRY(
        context.kind.Close(iqn, publication.node.initiator, publication.chap_user, deadline));
  return {};
}

}  // namespace

Result<Chap> OpenChap(const Context& context, const Record& record,
                      const RecordedPublication& publication) {
  GANTRY_PLUGIN_TRY_ASSIGN(const auto key, KeyOf(context));
  auto chap = key.Open(publication.sealed_chap, SealContext(record, publication.node.node_id));
  if (!chap) return tl::unexpected(plugin::Wrap(std::move(chap.error()), Named(record)));
  return chap;
}

Result<Volume> Publish(const Context& context, const Call& call, const PublishVolume& request,
                       Deadline deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(
      const auto locks, context.store.LockAll({{RecordKind::kVolume, request.handle}}, deadline));
  GANTRY_PLUGIN_TRY_ASSIGN(Record record,
                           FindReady(context, RecordKind::kVolume, request.handle, call.owner));
  if (!request.incarnation.empty() && request.incarnation != record.incarnation)
    return Fail(code::kNotFound,
                Named(record) + ": it was made anew, its incarnation is " + record.incarnation);
  const auto there = std::find_if(
      record.nodes.begin(), record.nodes.end(),
      [&](const auto& publication) { return publication.node.node_id == request.node_id; });
  const bool is_new = there == record.nodes.end();
  if (!is_new) {
    GANTRY_PLUGIN_TRY(CheckSame(context, record, *there, request));
    GANTRY_PLUGIN_TRY(context.store.Settle(record.kind, record.handle));
  }
  if (is_new) {
    // Before anything is written: what cannot be given out together, and whether anybody is there.
    GANTRY_PLUGIN_TRY_ASSIGN(record, AddNode(context, std::move(record), request));
  }
  GANTRY_PLUGIN_TRY_ASSIGN(const Export wanted, ExportOf(context, record));
  if (is_new) {
    GANTRY_PLUGIN_TRY(context.kind.Check(wanted));
    GANTRY_PLUGIN_TRY(context.kind.Probe());
    GANTRY_PLUGIN_TRY(context.store.Write(record));
  }
  GANTRY_PLUGIN_TRY(context.kind.Ensure(wanted, deadline));
  context.store.Did("target open");
  return Show(context, record);
}

Result<Empty> Unpublish(const Context& context, const Call& call, const UnpublishVolume& request,
                        Deadline deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(
      const auto locks, context.store.LockAll({{RecordKind::kVolume, request.handle}}, deadline));
  GANTRY_PLUGIN_TRY_ASSIGN(auto found, context.store.Find(RecordKind::kVolume, request.handle));
  const auto nothing_to_do = [&]() -> Result<Empty> {
    GANTRY_PLUGIN_TRY(context.store.Settle(RecordKind::kVolume, request.handle));
    return Empty{};
  };
  if (!found || found->nodes.empty()) return nothing_to_do();
  Record record = std::move(*found);
  GANTRY_PLUGIN_TRY(CheckOwner(record, call.owner));
  if (!request.incarnation.empty() && request.incarnation != record.incarnation)
    return nothing_to_do();
  std::vector<RecordedPublication> leaving;
  std::vector<RecordedPublication> staying;
  for (const auto& publication : record.nodes)
    (request.node_id.empty() || publication.node.node_id == request.node_id ? leaving : staying)
        .push_back(publication);
  if (leaving.empty()) return nothing_to_do();
  GANTRY_PLUGIN_TRY(Close(context, record, leaving, deadline));
  context.store.Did("target closed");
  record.nodes = std::move(staying);
  GANTRY_PLUGIN_TRY(context.store.Write(record));
  return Empty{};
}

}  // namespace gantry::iscsi::target
