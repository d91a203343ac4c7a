// SPDX-License-Identifier: Apache-2.0
// For tests: a volume that keeps what it writes, on a server that can lose what was not committed.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "plugins/nfs/datapath/data_path.hpp"
#include "plugins/nfs/datapath/testing/data_path_fixture.hpp"

namespace gantry::nfs::test {

inline constexpr uint32_t kIoStatus = 5;
inline constexpr uint32_t kAccessStatus = 13;
inline constexpr uint32_t kNoSpaceStatus = 28;
inline constexpr uint32_t kStaleStatus = 70;

// Keeps files as a server does: in memory until they are committed.
class UncommittedTest : public DataPathFixture {
 protected:
  UncommittedTest() {
    server_.On(nfs::Write::kNumber, [this](const FakeCall& call) { return Store(call); });
    server_.On(nfs::Commit::kNumber, [this](const FakeCall& call) -> std::optional<Bytes> {
      const std::lock_guard lock(mutex_);
      if (commit_status_ != 0 && (refused_.empty() || refused_ == FileOf(call))) {
        // As a server that could not store it, and has dropped it.
        if (commit_status_ == kIoStatus) seen_[FileOf(call)] = stable_[FileOf(call)];
        return Status(commit_status_);
      }
      stable_[FileOf(call)] = seen_[FileOf(call)];
      return Xdr().U32(0).U32(0).U32(0).Raw(Verifier()).bytes;
    });
    server_.On(nfs::Read::kNumber, [this](const FakeCall& call) {
      const std::lock_guard lock(mutex_);
      const std::string& content = seen_[FileOf(call)];
      const auto at = std::min<uint64_t>(OffsetOf(call), content.size());
      const std::string data = content.substr(at, CountOf(call));
      return Data(data, at + data.size() == content.size());
    });
    server_.On(nfs::GetAttr::kNumber, [this](const FakeCall& call) {
      const std::lock_guard lock(mutex_);
      const std::string file = FileOf(call);
      if (file == "root") return Xdr().U32(0).Append(FattrOf(2)).bytes;
      Bytes attributes = FattrOf(1);
      for (size_t i = 0; i < 4; ++i)
        attributes[24 + i] = std::byte(seen_[file].size() >> (24 - 8 * i) & 0xff);
      return Xdr().U32(0).Append(attributes).bytes;
    });
    server_.On(nfs::SetAttr::kNumber, [this](const FakeCall& call) {
      const std::lock_guard lock(mutex_);
      if (setattr_status_ != 0) return Status(setattr_status_);
      if (WordAt(call.arguments, 20) == 1) {
        seen_[FileOf(call)].resize(WordAt(call.arguments, 28));
        stable_[FileOf(call)].resize(WordAt(call.arguments, 28));
      }
      return Changed();
    });
  }

  // `more`: instead of these.
  static Volume::Parameters Keeping(Volume::Parameters more = {}) {
    more.merge(Volume::Parameters{{"writers", "one"}, {"commitsAtClose", "true"}});
    return more;
  }
  void Open() { DataPathFixture::Open(Keeping()); }
  Ended OpenAgain(Volume& volume, Volume::Parameters more = Keeping()) {
    more.merge(server_.Parameters());
    return volume.Open(more);
  }
  // The server has dropped what it could not store, and says to the next COMMITs that all is well.
  void SayOnceThatACommitHasFailed(uint32_t status) {
    commit_has_failed_ = false;
    server_.On(nfs::Commit::kNumber, [this, status](const FakeCall& call) -> std::optional<Bytes> {
      while (commits_wait_) std::this_thread::yield();
      const std::lock_guard lock(mutex_);
      if (!commit_has_failed_.exchange(true)) {
        seen_[FileOf(call)] = stable_[FileOf(call)];
        return Status(status);
      }
      return Xdr().U32(0).U32(0).U32(0).Raw("start100").bytes;
    });
  }
  // Its answers do not come until then.
  void HoldCommitsBack(bool back) { commits_wait_ = back; }
  // Bytes of answers, by whichever process.
  uint64_t Received() {
    return reinterpret_cast<const StreamHeader*>(host_.Region("rpc") + 4096)->in_head;
  }
  // The next WRITE is done, and not answered.
  void SwallowAWrite() {
    const std::lock_guard lock(mutex_);
    swallows_ = true;
  }
  // Begins a write whose answer does not come.
  gantry_op WriteUnanswered(const std::string& file, uint64_t offset, const std::string& data) {
    const size_t writes = server_.Seen(nfs::Write::kNumber).size();
    SwallowAWrite();
    const gantry_op op = volume_.Write(file, offset, Keep(data), 0);
    EXPECT_TRUE(Sees(nfs::Write::kNumber, writes + 1));
    return op;
  }
  // The server is the same, and has lost nothing.
  void LoseTheConnection() {
    const uint16_t port = server_.port();
    server_.Stop();
    server_.Begin(port);
  }
  // What was not committed is gone.
  void RestartServer() {
    const uint16_t port = server_.port();
    server_.Stop();
    {
      const std::lock_guard lock(mutex_);
      seen_ = stable_;
      executed_.clear();
      ++starts_;
    }
    server_.Begin(port);
  }
  // After so many more.
  void RefuseWrites(uint32_t status, int taken = 0) {
    const std::lock_guard lock(mutex_);
    write_status_ = status;
    writes_taken_ = taken;
    unwritable_.clear();
  }
  void RefuseWritesOf(const std::string& file, uint32_t status) {
    RefuseWrites(status);
    const std::lock_guard lock(mutex_);
    unwritable_ = file;
  }
  void RefuseSetattrs(uint32_t status) {
    const std::lock_guard lock(mutex_);
    setattr_status_ = status;
  }
  // The next WRITE stores but one byte.
  void AnswerAWriteShort() {
    const std::lock_guard lock(mutex_);
    short_ = true;
  }
  void RefuseCommits(uint32_t status, const std::string& file = "") {
    const std::lock_guard lock(mutex_);
    refused_ = file;
    commit_status_ = status;
  }
  // A COMMIT of "file" has failed at the server, and who asked for it dies before it is heard.
  void DieBeforeAFailedCommitIsHeard() {
    SayOnceThatACommitHasFailed(kIoStatus);
    HoldCommitsBack(true);
    volume_.Commit("file");
    ASSERT_TRUE(Sees(nfs::Commit::kNumber, 1));
    volume_.Die();
  }
  std::string Stable(const std::string& file) {
    const std::lock_guard lock(mutex_);
    return stable_[file];
  }
  // Not alone, so that it is not made stable at once as the one before it.
  void Write(const std::string& file, uint64_t offset, const std::string& data) {
    for (const std::string& content : {std::string(data.size(), '.'), data}) {
      ASSERT_EQ(volume_.Wait(volume_.Write(file, offset, Keep(content), 0)).length, data.size());
    }
  }
  // "old" is lost, "new" over it was under way and is not; "old" is written again, and nothing more.
  void CutARestoreShort() {
    Write("file", 0, "old");
    const size_t writes = server_.Seen(nfs::Write::kNumber).size();
    server_.HangUpOn(nfs::Write::kNumber);
    const gantry_op newer = volume_.Write("file", 0, Keep("new"), 0);
    ASSERT_TRUE(Sees(nfs::Write::kNumber, writes + 1));
    RefuseWrites(kAccessStatus, 2);
    RestartServer();
    ASSERT_EQ(volume_.Wait(newer).length, 3u);
    ASSERT_TRUE(Sees(nfs::Write::kNumber, writes + 4));
  }
  // "old" is lost; of "new" over it one byte is written to the new server before that gets "old" again.
  gantry_op WriteInPiecesAcrossARestore() {
    Write("file", 0, "old");
    const size_t writes = server_.Seen(nfs::Write::kNumber).size();
    server_.HangUpOn(nfs::Write::kNumber);
    const gantry_op newer = volume_.Write("file", 0, Keep("new"), 0);
    EXPECT_TRUE(Sees(nfs::Write::kNumber, writes + 1));
    AnswerAWriteShort();
    RestartServer();
    return newer;
  }
  bool Logs(const std::string& what, std::chrono::milliseconds time = std::chrono::seconds(10)) {
    return host_.Run([&] { return volume_.log().find(what) != std::string::npos; }, time);
  }
  // For how long a restore was refused.
  std::atomic<uint32_t>& RefusedMs() {
    return reinterpret_cast<WriteLogHeader*>(host_.Region("writes"))->refused_ms;
  }
  gantry_op Truncate(Volume& volume, const std::string& file, uint64_t bytes) {
    gantry_fs_attributes size{};
    size.size_bytes = bytes;
    return volume.Setattr(file, GANTRY_FS_SET_SIZE, size);
  }
  const std::string& Keep(const std::string& data) { return kept_.emplace_back(data); }
  std::string Read(Volume& volume, const std::string& file) {
    std::string buffer(1 << 16, '\0');
    const Ended ended =
        volume.Wait(volume.Read(file, 0, buffer.data(), static_cast<uint32_t>(buffer.size())));
    EXPECT_EQ(ended.error_number, 0);
    return buffer.substr(0, ended.length);
  }
  size_t Unstable() {
    size_t count = 0;
    for (const FakeCall& call : server_.Seen(nfs::Write::kNumber))
      count += WordAt(call.arguments, 20) == 0 ? 1 : 0;
    return count;
  }
  size_t Commits() { return server_.Seen(nfs::Commit::kNumber).size(); }

 private:
  static std::string FileOf(const FakeCall& call) {
    return {reinterpret_cast<const char*>(call.arguments.data()) + 4, 4};
  }
  std::string Verifier() const { return "start" + std::to_string(100 + starts_); }
  std::optional<Bytes> Store(const FakeCall& call) {
    const std::lock_guard lock(mutex_);
    if (write_status_ != 0 && (unwritable_.empty() || unwritable_ == FileOf(call)) &&
        writes_taken_-- <= 0)
      return Status(write_status_);
    // As a reply cache does.
    if (!executed_.insert(call.xid).second)
      return Written(CountOf(call), WordAt(call.arguments, 20), Verifier());
    std::string& content = seen_[FileOf(call)];
    const uint64_t at = OffsetOf(call);
    const uint32_t count = std::exchange(short_, false) ? 1 : CountOf(call);
    content.resize(std::max<size_t>(content.size(), at + count));
    std::memcpy(content.data() + at, call.arguments.data() + 28, count);
    const uint32_t how = WordAt(call.arguments, 20);
    if (how == 2) stable_[FileOf(call)] = content;
    if (std::exchange(swallows_, false)) return std::nullopt;
    return Written(count, how, Verifier());
  }

  std::mutex mutex_;
  std::map<std::string, std::string> seen_, stable_;
  std::set<uint32_t> executed_;  // WRITEs by xid.
  int starts_ = 0;
  uint32_t write_status_ = 0, commit_status_ = 0, setattr_status_ = 0;
  int writes_taken_ = 0;
  bool short_ = false, swallows_ = false;
  std::atomic<bool> commit_has_failed_{false}, commits_wait_{false};
  std::string refused_, unwritable_;
  std::deque<std::string> kept_;
};

}  // namespace gantry::nfs::test
