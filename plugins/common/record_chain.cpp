// SPDX-License-Identifier: Apache-2.0
#include "plugins/common/record_chain.hpp"

#include <charconv>
#include <utility>

namespace gantry::plugin {
namespace {

constexpr std::string_view kTemporaryPrefix = ".new-";

std::optional<uint64_t> NumberOf(const std::string& name) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || end != name.data() + name.size() || number == 0) return std::nullopt;
  return number;
}

// Gone is what it is now, whoever removed it.
Status RemoveQuietly(Storage& storage, const NodeId& directory, const std::string& name) {
  const auto removed = storage.Remove(directory, name);
  if (removed || IsGone(removed)) return {};
  return tl::make_unexpected(removed.error());
}

}  // namespace

Result<std::optional<Chain>> LoadChain(Storage& storage, const NodeId& volumes,
                                       const std::string& handle, std::optional<NodeId> directory) {
  for (int i = 0; i < kLoadTriesMax; ++i) {
    Chain chain;
    if (directory) {
      chain.directory = *std::exchange(directory, std::nullopt);
    } else {
      auto found = storage.Lookup(volumes, handle);
      if (FailedWith(found, StoreFault::kNotFound)) return std::nullopt;
      GANTRY_PLUGIN_TRY(found);
      chain.directory = std::move(found->id);
    }
    auto listed = storage.List(chain.directory, kChainFilesMax);
    if (IsGone(listed)) continue;
    GANTRY_PLUGIN_TRY(listed);

    uint64_t highest = 0;
    std::optional<Node> file;
    for (auto& entry : *listed) {
      if (const auto number = NumberOf(entry.name); number && *number > highest) {
        highest = *number;
        file = entry.node;
      }
      chain.files.push_back(
          {std::move(entry.name), entry.node ? std::move(entry.node->id) : NodeId()});
    }
    if (highest == 0) return chain;
    const std::string name = std::to_string(highest);
    if (!file) {
      auto looked_up = storage.Lookup(chain.directory, name);
      if (IsGone(looked_up)) continue;
      GANTRY_PLUGIN_TRY(looked_up);
      file = std::move(*looked_up);
    }
    const auto text = storage.ReadFile(file->id, kRecordBytesMax);
    if (IsGone(text)) continue;
    GANTRY_PLUGIN_TRY(text);
    GANTRY_PLUGIN_TRY_ASSIGN(Record record, Decode(*text, "volumes/" + handle + "/" + name));
    if (record.handle != handle) {
      return Fail(code::kDataLoss, "the record volumes/" + handle + "/" + name +
                                       " says that it is of " + record.handle);
    }
    chain.current = Version{highest, std::move(file->id), std::move(record), file->mtime_ns};
    return chain;
  }
  return Fail(code::kAborted, "the record " + handle + " is being changed");
}

Result<std::optional<Version>> Publish(Storage& storage, const Chain& chain, uint64_t number,
                                       Record record, const MakeNonce& nonce) {
  if (number > kVersionsMax) {
    return Fail(code::kResourceExhausted, "the record " + record.handle + " has been changed " +
                                              std::to_string(kVersionsMax) + " times");
  }
  record.write = nonce();
  if (record.state == RecordState::kCreating) record.creating_until = number;
  const std::string temporary = std::string(kTemporaryPrefix) + record.write;
  const std::string name = std::to_string(number);
  auto file = storage.CreateFile(chain.directory, temporary, Encode(record));
  if (IsGone(file)) return std::nullopt;
  GANTRY_PLUGIN_TRY(file);

  const auto linked = storage.Link(file->id, chain.directory, name);
  bool won = linked.has_value();
  if (FailedWith(linked, StoreFault::kExists)) {
    // Ours, if the reply to an earlier transmission was lost.
    const auto there = storage.Lookup(chain.directory, name);
    if (!there && !IsGone(there)) return tl::make_unexpected(there.error());
    if (there) {
      const auto text = storage.ReadFile(there->id, kRecordBytesMax);
      if (!text && !IsGone(text)) return tl::make_unexpected(text.error());
      const auto winner = text ? Decode(*text, name) : Fail(code::kNotFound, "");
      won = winner && winner->write == record.write;
    }
  } else if (!won && !IsGone(linked)) {
    return tl::make_unexpected(linked.error());
  }
  if (!won || number == 1) {
    GANTRY_PLUGIN_TRY(RemoveQuietly(storage, chain.directory, temporary));
  } else {
    // Drops the content of the version before; its number stays used.
    const auto covered =
        storage.Rename(chain.directory, temporary, chain.directory, std::to_string(number - 1));
    if (!covered && !IsGone(covered)) return tl::make_unexpected(covered.error());
  }
  if (!won) return std::nullopt;
  return Version{number, std::move(file->id), std::move(record), file->mtime_ns};
}

Result<bool> IsInPlace(Storage& storage, const NodeId& volumes, const std::string& handle,
                       const Chain& chain) {
  const auto found = storage.Lookup(volumes, handle);
  if (IsGone(found)) return false;
  GANTRY_PLUGIN_TRY(found);
  return found->id == chain.directory;
}

Status EndOlder(Storage& storage, const Chain& chain, const NodeId& harmless,
                const MakeNonce& nonce) {
  for (const auto& [name, file] : chain.files) {
    const auto number = NumberOf(name);
    if (!number) {
      GANTRY_PLUGIN_TRY(RemoveQuietly(storage, chain.directory, name));
      continue;
    }
    const bool is_current = *number == chain.current->number;
    // The version before the current one was covered when that was published.
    const bool is_covered = *number + 1 == chain.current->number;
    // A version's file has its own name and, where it covers it, that of the one before.
    const bool is_later = *number > chain.current->record.creating_until;
    if (is_current || is_covered || is_later || (!file.empty() && file == harmless)) continue;
    const std::string temporary = std::string(kTemporaryPrefix) + nonce();
    const auto linked = storage.Link(chain.current->file, chain.directory, temporary);
    if (IsGone(linked)) return {};
    GANTRY_PLUGIN_TRY(linked);
    const auto covered = storage.Rename(chain.directory, temporary, chain.directory, name);
    if (!covered && !IsGone(covered)) return tl::make_unexpected(covered.error());
    // rename(2) does nothing when both names are links of one file already.
    GANTRY_PLUGIN_TRY(RemoveQuietly(storage, chain.directory, temporary));
  }
  return {};
}

Status RemoveEmptyChain(Storage& storage, const NodeId& volumes, const std::string& handle,
                        const Chain& chain) {
  for (const auto& file : chain.files) {
    GANTRY_PLUGIN_TRY(RemoveQuietly(storage, chain.directory, file.name));
  }
  GANTRY_PLUGIN_TRY(RemoveIfEmpty(storage, volumes, handle));
  return {};
}

}  // namespace gantry::plugin
