// SPDX-License-Identifier: Apache-2.0
// Node state as one small JSON file a volume, replaced durably: a crash leaves the old content or
// the new. One file each rather than a database, so that what cannot be read is one volume's
// trouble, is named, and can be looked at with a pager.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "host/core/node_state.hpp"

namespace gantry::services {

constexpr size_t kNodeStateBytesMax = 1U << 20;

// What one file holds. `where` names it in the errors: DATA_LOSS for what is no node state.
base::Result<core::NodeVolume> DecodeNodeVolume(std::string_view text, const std::string& where);
// INVALID_ARGUMENT where a text is no UTF-8, or all of it more than kNodeStateBytesMax.
base::Result<std::string> EncodeNodeVolume(const core::NodeVolume& volume);

// Any thread; two calls for one volume must not overlap. The directory is made when missing, 0700.
class FileNodeState final : public core::NodeState {
 public:
  static base::Result<FileNodeState> Open(std::filesystem::path directory);

  // DATA_LOSS names a file that is there but is not a state of this volume.
  base::Result<std::optional<core::NodeVolume>> Load(const std::string& volume_id) override;
  base::Status Save(const core::NodeVolume& volume) override;
  base::Status Remove(const std::string& volume_id) override;
  // DATA_LOSS names the first file that cannot be read: a list that is not whole is an error.
  base::Result<std::vector<core::NodeVolume>> LoadAll() override;

 private:
  explicit FileNodeState(std::filesystem::path directory) : directory_(std::move(directory)) {}
  base::Result<std::filesystem::path> FileOf(const std::string& volume_id) const;

  std::filesystem::path directory_;
};

}  // namespace gantry::services
