// SPDX-License-Identifier: Apache-2.0
// What must be known of a backend's swaps when gantryd dies in the middle of one:
// <state>/swap/<backend>.json, replaced durably before a step has an effect. It names the release
// to serve, so the next gantryd need not understand how far the swap had come: the old one until
// the cut-over is written, the new one from then on. It holds no secret (credentials are files, a
// configuration is not secret), and is 0600 all the same.
//
// It holds only as long as what the operator wrote down is what it was: once the plugin directory's
// file or the backend's `config:` is another than the journal knew, these are the newer word.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "host/base/error.hpp"
#include "host/core/fleet.hpp"
#include "host/swap/lane.hpp"

namespace gantry::swap {

constexpr size_t kJournalBytesMax = 4 * 1024 * 1024;

struct JournalEntry {
  Release active;                  // to be served
  std::optional<Release> standby;  // may be gone back to; formats are not final while there is one
  std::string file_sha256;         // of the plugin directory's file when this was written
  std::string config_sha256;       // of the configuration file's `config:`
  core::SwapStatus swap;           // the latest
};

// What the file holds. `where` names it in the errors: DATA_LOSS for what is no journal.
std::string EncodeJournal(const JournalEntry& entry);
base::Result<JournalEntry> DecodeJournal(std::string_view text, const std::string& where);

// One backend's. Not thread-safe.
class Journal {
 public:
  Journal(const std::filesystem::path& directory, const std::string& backend)
      : file_(directory / (backend + ".json")) {}

  // None where no swap was ever begun. DATA_LOSS names the file and what cannot be read.
  base::Result<std::optional<JournalEntry>> Load() const;
  // Durable when it returns.
  base::Status Save(const JournalEntry& entry) const;

 private:
  const std::filesystem::path file_;
};

}  // namespace gantry::swap
