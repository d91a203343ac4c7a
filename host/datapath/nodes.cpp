// SPDX-License-Identifier: Apache-2.0
#include "host/datapath/nodes.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

namespace gantry::datapath {
namespace {

constexpr uint32_t kFirstNode = kRootNode + 1;

// What comes after is not stored before what comes before it. Of a process that is killed the order of
// its own instructions counts, so it is the compiler alone that must keep it.
void FenceForSuccessor() { std::atomic_signal_fence(std::memory_order_seq_cst); }

void SetHandle(NodeRecord& record, std::string_view handle) {
  record.handle_bytes = static_cast<uint32_t>(handle.size());
  std::memcpy(record.handle.data(), handle.data(), handle.size());
}

base::Status CheckHandle(std::string_view handle) {
  if (!handle.empty() && handle.size() <= kHandleBytesMax) return {};
  return base::Fail(base::Code::kInvalidArgument,
                    "a node handle has " + std::to_string(handle.size()) +
                        " bytes, expected 1 to " + std::to_string(kHandleBytesMax));
}

}  // namespace

NodeTable::NodeTable(int memfd, size_t offset, uint32_t nodes_max, Mapping mapping)
    : memfd_(memfd),
      offset_(offset),
      nodes_max_(nodes_max),
      mapping_(std::move(mapping)),
      index_(0, Hash{this}, Equal{this}) {}

// The index's functions point to their table, so it is filled anew.
NodeTable::NodeTable(NodeTable&& other) noexcept
    : memfd_(other.memfd_),
      offset_(other.offset_),
      nodes_max_(other.nodes_max_),
      mapping_(std::move(other.mapping_)),
      ready_(other.ready_),
      free_(std::move(other.free_)),
      index_(0, Hash{this}, Equal{this}),
      on_freed_(std::move(other.on_freed_)) {
  std::vector<uint32_t> nodes(other.index_.begin(), other.index_.end());
  other.index_.clear();
  index_.insert(nodes.begin(), nodes.end());
}

base::Result<NodeTable> NodeTable::Attach(int memfd, size_t offset, uint32_t nodes_max) {
  GANTRY_TRY(GrowFile(memfd, offset + kPageBytes));
  GANTRY_TRY_ASSIGN(Mapping mapping, Mapping::Shared(memfd, offset, NodesBytes(nodes_max)));
  NodeTable table(memfd, offset, nodes_max, std::move(mapping));
  GANTRY_TRY(table.Prepare());
  return table;
}

base::Status NodeTable::Prepare() {
  NodesHeader& header = Header();
  if (header.magic == 0) {
    header.version = kNodesVersion;
    header.record_bytes = sizeof(NodeRecord);
    header.high_water = kFirstNode;
    header.magic.store(kNodesMagic, std::memory_order_release);
  } else if (header.magic != kNodesMagic || header.version != kNodesVersion ||
             header.record_bytes != sizeof(NodeRecord) || header.high_water > nodes_max_) {
    return base::Fail(base::Code::kFailedPrecondition,
                      "the node table has version " + std::to_string(header.version) +
                          ", expected " + std::to_string(kNodesVersion));
  }
  GANTRY_TRY(MakeReady(std::max<uint32_t>(header.high_water, kNodesStep)));
  for (uint32_t node = header.high_water; node > kFirstNode; --node) {
    if (At(node - 1).used != 0)
      index_.insert(node - 1);
    else
      free_.push_back(node - 1);
  }
  return {};
}

base::Status NodeTable::MakeReady(uint32_t records) {
  const uint32_t wanted =
      std::min(nodes_max_, (records + kNodesStep - 1) / kNodesStep * kNodesStep);
  if (wanted <= ready_) return {};
  const size_t bytes = kPageBytes + size_t{wanted} * sizeof(NodeRecord);
  GANTRY_TRY(GrowFile(memfd_, offset_ + PageAligned(bytes)));
  // Present at once: a fault that finds no memory would be a SIGBUS later.
  const size_t present = ready_ == 0 ? 0 : kPageBytes + size_t{ready_} * sizeof(NodeRecord);
  const size_t from = present / kPageBytes * kPageBytes;
  GANTRY_TRY(Populate(mapping_.data() + from, PageAligned(bytes) - from));
  ready_ = wanted;
  return {};
}

base::Status NodeTable::SetRoot(std::string_view handle) {
  GANTRY_TRY(CheckHandle(handle));
  NodeRecord& root = At(kRootNode);
  if (root.used != 0 && Handle(kRootNode) != handle)
    return base::Fail(base::Code::kFailedPrecondition, "the volume's root is another one now");
  SetHandle(root, handle);
  root.used.store(1, std::memory_order_release);
  index_.insert(kRootNode);
  return {};
}

bool NodeTable::Has(uint64_t node) const {
  return node >= kRootNode && node < Header().high_water && At(node).used != 0;
}

std::string_view NodeTable::Handle(uint64_t node) const {
  const NodeRecord& record = At(node);
  return {record.handle.data(), record.handle_bytes};
}

base::Result<uint32_t> NodeTable::Intern(std::string_view handle) {
  GANTRY_TRY(CheckHandle(handle));
  if (const auto found = index_.find(handle); found != index_.end()) return *found;
  NodesHeader& header = Header();
  uint32_t node = 0;
  if (!free_.empty()) {
    node = free_.back();
    free_.pop_back();
  } else {
    node = header.high_water;
    if (node >= nodes_max_)
      return base::Fail(base::Code::kResourceExhausted,
                        "the volume has " + std::to_string(nodes_max_) + " nodes in use");
    GANTRY_TRY(MakeReady(node + 1));
  }
  NodeRecord& record = At(node);
  record.lookups = 0;
  record.opens = 0;
  record.has_writer = 0;
  ++record.generation;
  SetHandle(record, handle);
  record.used.store(1, std::memory_order_release);
  if (node >= header.high_water) header.high_water.store(node + 1, std::memory_order_release);
  index_.insert(node);
  return node;
}

std::optional<uint32_t> NodeTable::Find(std::string_view handle) const {
  const auto found = index_.find(handle);
  if (found == index_.end()) return std::nullopt;
  return *found;
}

void NodeTable::Hide(uint64_t node, const Hidden& hidden) {
  NodeRecord& record = At(node);
  record.hidden_uid = hidden.uid;
  record.hidden_gid = hidden.gid;
  record.hidden_number = hidden.number;
  record.hidden_directory.store(hidden.directory, std::memory_order_release);
}

std::optional<Hidden> NodeTable::HiddenOf(uint64_t node) const {
  const NodeRecord& record = At(node);
  const uint32_t directory = record.hidden_directory.load(std::memory_order_acquire);
  if (directory == 0) return std::nullopt;
  return Hidden{directory, record.hidden_uid, record.hidden_gid, record.hidden_number};
}

void NodeTable::Unhide(uint64_t node) {
  At(node).hidden_directory.store(0, std::memory_order_release);
}

std::optional<uint32_t> NodeTable::AnyHidden() const {
  for (uint32_t node = kFirstNode; node < Header().high_water; ++node)
    if (At(node).used != 0 && At(node).hidden_directory != 0) return node;
  return std::nullopt;
}

bool NodeTable::Adjust(Redo& redo, uint64_t node, int64_t lookups, int32_t opens, uint32_t item) {
  NodeRecord& record = At(node);
  if (IsAdjusted(redo, node, item)) return true;
  const bool lookups_enough = lookups >= 0 || record.lookups >= static_cast<uint64_t>(-lookups);
  const bool opens_enough = opens >= 0 || record.opens >= static_cast<uint32_t>(-opens);
  redo.state.store(RedoState::kNone, std::memory_order_release);
  redo.node = static_cast<uint32_t>(node);
  redo.item = item;
  redo.lookups = lookups_enough ? record.lookups + static_cast<uint64_t>(lookups) : 0;
  redo.opens = opens_enough ? record.opens + static_cast<uint32_t>(opens) : 0;
  redo.state.store(RedoState::kIntent, std::memory_order_release);
  FenceForSuccessor();
  record.lookups = redo.lookups;
  record.opens = redo.opens;
  redo.state.store(RedoState::kApplied, std::memory_order_release);
  return lookups_enough && opens_enough;
}

bool NodeTable::IsAdjusted(const Redo& redo, uint64_t node, uint32_t item) {
  return redo.state.load(std::memory_order_acquire) == RedoState::kApplied && redo.item == item &&
         redo.node == node;
}

void NodeTable::Finish(Redo& redo) {
  if (redo.state.load(std::memory_order_acquire) != RedoState::kIntent) return;
  if (Has(redo.node)) {
    At(redo.node).lookups = redo.lookups;
    At(redo.node).opens = redo.opens;
  }
  redo.state.store(RedoState::kApplied, std::memory_order_release);
}

void NodeTable::Store(const LookupBatch& batch) {
  for (const BatchRecord& record : batch.records())
    if (Has(record.node)) At(record.node).lookups = record.lookups;
}

void NodeTable::AddLookups(const LookupBatch& batch, std::span<const uint32_t> nodes) {
  std::vector<uint32_t> sorted(nodes.begin(), nodes.end());
  std::sort(sorted.begin(), sorted.end());
  uint32_t records = 0;
  for (const uint32_t node : sorted) {
    if (records == 0 || batch.all[records - 1].node != node)
      batch.all[records++] = {node, 0, At(node).lookups};
    ++batch.all[records - 1].times;
    ++batch.all[records - 1].lookups;
  }
  batch.head.records = records;
  batch.head.state.store(BatchState::kIntent, std::memory_order_release);
  Finish(batch);
}

void NodeTable::TakeBack(const LookupBatch& batch) {
  if (batch.head.state.load(std::memory_order_acquire) != BatchState::kApplied) return;
  for (BatchRecord& record : batch.records()) {
    const uint64_t now = Has(record.node) ? At(record.node).lookups : 0;
    record.lookups = now - std::min<uint64_t>(now, record.times);
  }
  batch.head.state.store(BatchState::kUndoing, std::memory_order_release);
  Finish(batch);
  for (const BatchRecord& record : batch.records()) DropIfUnused(record.node);
}

void NodeTable::Finish(const LookupBatch& batch) {
  const BatchState state = batch.head.state.load(std::memory_order_acquire);
  if (state != BatchState::kIntent && state != BatchState::kUndoing) return;
  FenceForSuccessor();
  Store(batch);
  batch.head.state.store(state == BatchState::kIntent ? BatchState::kApplied : BatchState::kNone,
                         std::memory_order_release);
}

std::optional<Identity::Ids> NodeTable::WriterOf(uint64_t node) const {
  const NodeRecord& record = At(node);
  if (record.has_writer.load(std::memory_order_acquire) == 0) return std::nullopt;
  return Identity::Ids{record.writer_uid, record.writer_gid};
}

void NodeTable::SetWriter(uint64_t node, Identity::Ids writer) {
  NodeRecord& record = At(node);
  record.writer_uid = writer.uid;
  record.writer_gid = writer.gid;
  record.has_writer.store(1, std::memory_order_release);
}

void NodeTable::DropIfUnused(uint64_t node) {
  if (node <= kRootNode || !Has(node)) return;
  NodeRecord& record = At(node);
  if (record.lookups != 0 || record.opens != 0 || record.hidden_directory != 0) return;
  index_.erase(static_cast<uint32_t>(node));
  if (on_freed_) on_freed_(Handle(node));
  record.used.store(0, std::memory_order_release);
  free_.push_back(static_cast<uint32_t>(node));
}

void NodeTable::DropAllUnused() {
  for (uint32_t node = kFirstNode; node < Header().high_water; ++node) DropIfUnused(node);
}

NodeCounts NodeTable::Count() const {
  NodeCounts counts;
  for (uint32_t node = kFirstNode; node < Header().high_water; ++node) {
    const NodeRecord& record = At(node);
    if (record.used == 0) continue;
    ++counts.nodes;
    counts.lookups += record.lookups;
    counts.opens += record.opens;
  }
  return counts;
}

}  // namespace gantry::datapath
