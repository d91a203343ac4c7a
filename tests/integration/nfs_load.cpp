// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/nfs_load.hpp"

#include <gmock/gmock.h>
#include <poll.h>

#include <algorithm>
#include <cstdio>
#include <set>
#include <sstream>

#include "tests/integration/nfs_lab.hpp"
#include "tests/integration/swap_lab.hpp"

namespace gantry::tests {
namespace {

constexpr int kRetryPauseMs = 20;
constexpr uint64_t kKeepEvery = 4;  // Of a client's volumes, its first
constexpr size_t kKeptMax = 24;     // of all together.
constexpr size_t kFileBytes = 20'000;
constexpr int32_t kPageEntries = 5;
constexpr size_t kWrongsShown = 10;
constexpr int64_t kGrownBytes = int64_t{2} << 30;

double Ms(std::chrono::nanoseconds time) { return static_cast<double>(time.count()) / 1e6; }

std::string Rounded(double ms) {
  char text[32];
  (void)std::snprintf(text, sizeof text, "%.1f", ms);
  return text;
}

bool MayBeTriedAgain(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE ||
         status.error_code() == grpc::StatusCode::ABORTED;
}

}  // namespace

void LoadTally::WrongLocked(const std::string& what) {
  ++wrong_;
  if (wrongs_.size() < kWrongsShown) wrongs_.push_back(what);
}

void LoadTally::Wrong(const std::string& what) {
  const std::lock_guard lock(mutex_);
  WrongLocked(what);
}

void LoadTally::Add(const std::string& rpc, const grpc::Status& status,
                    std::chrono::nanoseconds took, const Leniency& leniency) {
  const std::lock_guard lock(mutex_);
  ++calls_;
  longest_ = std::max(longest_, took);
  auto& longest_of_rpc = longest_of_[rpc];
  longest_of_rpc = std::max(longest_of_rpc, took);
  if (status.ok()) return;
  ++failed_;
  if (MayBeTriedAgain(status) && leniency.fails_after && took >= *leniency.fails_after) return;
  WrongLocked(rpc + " after " + Rounded(Ms(took)) + " ms: " + Text(status));
}

void LoadTally::Recovered(const std::string& rpc, std::chrono::nanoseconds took,
                          const Leniency& leniency) {
  const std::lock_guard lock(mutex_);
  longest_retried_ = std::max(longest_retried_, took);
  if (took > leniency.retried_max)
    WrongLocked(rpc + " succeeded only " + Rounded(Ms(took)) + " ms after its first error");
}

std::string LoadTally::Report(const std::string& part) const {
  const std::lock_guard lock(mutex_);
  std::ostringstream text;
  text << part << ": " << calls_ << " calls, " << failed_ << " failed, the longest "
       << Rounded(Ms(longest_)) << " ms";
  if (failed_ > 0)
    text << ", at most " << Rounded(Ms(longest_retried_)) << " ms from an error to success";
  text << "; the longest of each, ms:";
  for (const auto& [rpc, took] : longest_of_) text << " " << rpc << " " << Rounded(Ms(took));
  return text.str();
}

std::string LoadTally::wrongs() const {
  const std::lock_guard lock(mutex_);
  std::string all;
  for (const auto& wrong : wrongs_) all += wrong + "\n";
  if (wrong_ > wrongs_.size()) all += std::to_string(wrong_) + " in all\n";
  return all;
}

bool NfsLoad::Call(const std::string& rpc, const std::function<grpc::Status()>& send) {
  using std::chrono::steady_clock;
  std::optional<steady_clock::time_point> failed;
  while (true) {
    const auto begin = steady_clock::now();
    const grpc::Status status = send();
    const auto end = steady_clock::now();
    tally_.Add(rpc, status, end - begin, leniency_);
    if (status.ok()) {
      if (failed) tally_.Recovered(rpc, end - *failed, leniency_);
      return true;
    }
    if (!failed) failed = end;
    if (!MayBeTriedAgain(status) || end - *failed > leniency_.retried_max) {
      tally_.Wrong(rpc + " was given up: " + Text(status));
      return false;
    }
    poll(nullptr, 0, kRetryPauseMs);
  }
}

// Written, synced and read back through the pod's mount.
bool NfsLoad::Use(const Volume& volume, const std::string& content) {
  const auto file = volume.target / "data";
  if (const int error_number = WriteWhole(file, content); error_number != 0) {
    tally_.Wrong("writing " + file.string() + ": errno " + std::to_string(error_number));
    return false;
  }
  if (ReadWhole(file) == content) return true;
  tally_.Wrong(file.string() + " does not hold what was written");
  return false;
}

void NfsLoad::Live(int client, uint64_t number) {
  const std::string name = part_.substr(0, part_.find(' ')) + "-" + std::to_string(client) + "-" +
                           std::to_string(number);
  Volume volume = node_.Plan(name);
  const std::string content = Random(kFileBytes, std::hash<std::string>()(name));
  csi::v1::ControllerGetVolumeResponse got;
  csi::v1::ListVolumesResponse page;
  csi::v1::NodeGetVolumeStatsResponse stats;
  // An RPC that was given up is reported; the others' answers would only follow from it.
  const bool lived =
      Call("CreateVolume", [&] { return node_.Create(volume); }) &&
      Call("ValidateVolumeCapabilities", [&] { return node_.Validate(volume); }) &&
      Call("ControllerGetVolume", [&] { return node_.Get(volume, &got); }) &&
      Call("ListVolumes", [&] { return node_.List(kPageEntries, &page); }) &&
      Call("GetCapacity", [&] { return node_.Capacity(); }) &&
      Call("NodeStageVolume", [&] { return node_.Stage(volume); }) &&
      Call("NodePublishVolume", [&] { return node_.Publish(volume); }) && Use(volume, content) &&
      Call("ControllerExpandVolume", [&] { return node_.Expand(volume, kGrownBytes); }) &&
      Call("NodeGetVolumeStats", [&] { return node_.Stats(volume, &stats); }) &&
      Call("NodeUnpublishVolume", [&] { return node_.Unpublish(volume); }) &&
      Call("NodeUnstageVolume", [&] { return node_.Unstage(volume); });
  if (!lived) return;
  if (number % kKeepEvery == 0) {
    const std::lock_guard lock(mutex_);
    if (kept_.size() < kKeptMax) {
      kept_.push_back({volume, content});
      return;
    }
  }
  Call("DeleteVolume", [&] { return node_.Delete(volume); });
}

void NfsLoad::Run(int clients, std::chrono::milliseconds time, std::chrono::milliseconds period,
                  const std::function<void()>& disturb) {
  {
    const itest::Clients running(clients,
                                 [this](int client, uint64_t number) { Live(client, number); });
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) {
      poll(nullptr, 0, static_cast<int>(period.count()));
      disturb();
    }
  }
  std::puts(tally_.Report(part_).c_str());
  EXPECT_EQ(tally_.wrongs(), "") << part_;
}

void NfsLoad::ExpectOnServer(const std::vector<Kept>& kept) const {
  itest::Live live;
  for (const auto& one : kept) live[one.volume.backing.filename()] = itest::HandleOf(one.volume.id);
  itest::ExpectExactly(node_.server().root(), live);
  for (const auto& one : kept)
    EXPECT_TRUE(ReadWhole(one.volume.backing / "data") == one.content) << one.volume.backing;
}

void NfsLoad::Judge() {
  // The node: no mount, no process, no state of a volume.
  EXPECT_THAT(node_.Mounted(), ::testing::IsEmpty()) << part_;
  EXPECT_TRUE(Soon([this] { return node_.DataPathPids().empty(); }, itest::kSettleMsMax)) << part_;
  EXPECT_THAT(node_.Kept(), ::testing::IsEmpty()) << part_;
  EXPECT_EQ(itest::NamesIn(node_.host().directory() / "state/node"), itest::Names{}) << part_;

  EXPECT_FALSE(kept_.empty()) << part_;
  ExpectOnServer(kept_);
  std::set<std::string> ids;
  for (const auto& one : kept_) {
    EXPECT_TRUE(ids.insert(one.volume.id).second) << "twice: " << one.volume.id;
    Volume again = node_.Plan(one.volume.backing.filename());
    EXPECT_EQ(Text(node_.Create(again)), "OK") << one.volume.id;
    EXPECT_EQ(again.id, one.volume.id);
  }
  csi::v1::ListVolumesResponse listed;
  EXPECT_EQ(Text(node_.List(0, &listed)), "OK");
  std::set<std::string> listed_ids;
  for (const auto& entry : listed.entries()) listed_ids.insert(entry.volume().volume_id());
  EXPECT_EQ(listed_ids, ids) << part_;

  for (const auto& one : kept_) EXPECT_EQ(Text(node_.Delete(one.volume)), "OK") << one.volume.id;
  ExpectOnServer({});
}

}  // namespace gantry::tests
