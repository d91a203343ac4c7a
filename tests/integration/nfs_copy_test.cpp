// SPDX-License-Identifier: Apache-2.0
// Snapshots, clones and restores through a real gantryd on a real server: whether they are whole,
// down to owners, times, links and holes, and what becomes of them when workers, gantryd, sources and
// room go away while they are made.
#include <sys/mount.h>

#include <condition_variable>
#include <fstream>
#include <mutex>

#include "host/base/temp_dir.hpp"
#include "tests/integration/nfs_crash.hpp"

namespace gantry::itest {
namespace {

constexpr int kCopyUid = 61041;
constexpr int kOtherCopyUid = 61042;
constexpr uint32_t kNfsWrite = 7;  // RFC 1813, section 3.
constexpr std::chrono::milliseconds kCopyMsMax{90'000};
constexpr uint64_t kWorkerStride = 9;  // Calls between two crashes.
constexpr uint64_t kHostStride = 31;
constexpr uint64_t kCopyStepsMax = 400;

namespace fs = std::filesystem;

// All that a copy has to bring over, by path.
std::map<std::string, std::string> FactsOf(const fs::path& top) {
  std::map<std::string, std::string> facts;
  std::map<ino_t, std::string> first_names;
  std::set<fs::path> paths = {top};
  for (const auto& entry : fs::recursive_directory_iterator(top)) paths.insert(entry.path());
  for (const auto& path : paths) {
    struct stat is {};
    EXPECT_EQ(lstat(path.c_str(), &is), 0) << path;
    const std::string name = path.lexically_relative(top);
    std::string text = "mode " + std::to_string(is.st_mode) + " uid " + std::to_string(is.st_uid) +
                       " gid " + std::to_string(is.st_gid);
    if (!S_ISLNK(is.st_mode)) {  // Ganesha does not set a link's times.
      text +=
          " mtime " + std::to_string(is.st_mtim.tv_sec) + "." + std::to_string(is.st_mtim.tv_nsec);
    }
    if (!S_ISDIR(is.st_mode)) {
      text += " size " + std::to_string(is.st_size) + " is " +
              first_names.emplace(is.st_ino, name).first->second;
    }
    if (S_ISLNK(is.st_mode)) text += " -> " + fs::read_symlink(path).string();
    if (S_ISREG(is.st_mode)) {
      std::ifstream file(path, std::ios::binary);
      const std::string content((std::istreambuf_iterator<char>(file)), {});
      text += " content " + std::to_string(std::hash<std::string>()(content));
    }
    facts[name] = text;
  }
  return facts;
}

void Write(const fs::path& path, const std::string& content, off_t at = 0) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  if (!file) file.open(path, std::ios::binary | std::ios::out);
  file.seekp(at);
  file << content;
  EXPECT_TRUE(file.good()) << path;
}

void SetTime(const fs::path& path, time_t seconds) {
  const timespec times[] = {{seconds, 1}, {seconds, 123'456'789}};
  EXPECT_EQ(utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), 0) << path;
}

constexpr off_t kHoleBytes = 4 << 20;

void Fill(const fs::path& top) {
  fs::create_directories(top / "d/e");
  Write(top / "empty", "");
  Write(top / "small", "hello");
  Write(top / "d/large", std::string(700'000, 'x') + "end");
  Write(top / "d/holes", "tail", kHoleBytes);
  fs::create_symlink("../nowhere", top / "d/link");
  fs::create_hard_link(top / "small", top / "d/e/also-small");
  EXPECT_EQ(chown((top / "small").c_str(), 1234, 2345), 0);
  EXPECT_EQ(chmod((top / "small").c_str(), 06711), 0);
  EXPECT_EQ(lchown((top / "d/link").c_str(), 11, 12), 0);
  EXPECT_EQ(chmod((top / "d").c_str(), 01770), 0);
  int i = 0;
  for (const char* name : {"empty", "small", "d/large", "d/holes", "d/link", "d/e", "d", "."}) {
    SetTime(top / name, 1'000'000'000 + ++i);
  }
}

// A hook that lets no data be written as long as the gate is shut.
class Gate : public std::enable_shared_from_this<Gate> {
 public:
  NfsProxy::Hook Hook() {
    return [self = shared_from_this()](const NfsCall& call, Stage stage) {
      if (call.procedure == kNfsWrite && stage == Stage::kRequest) self->Pass();
      return Verdict::kPass;
    };
  }
  bool AwaitOne() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kSettleMsMax, [this] { return waiting_; });
  }
  void Open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  static constexpr int kRecordWrites = 2;  // Its first version, and the one that names the attempt.

  void Pass() {
    std::unique_lock lock(mutex_);
    if (++writes_ <= kRecordWrites) return;
    waiting_ = true;
    changed_.notify_all();
    changed_.wait_for(lock, kCopyMsMax, [this] { return open_; });
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  int writes_ = 0;
  bool open_ = false;
  bool waiting_ = false;
};

class NfsCopy : public NfsCrash {
 protected:
  ~NfsCopy() override { gate_->Open(); }

  void BeginWithSource() {
    ASSERT_NO_FATAL_FAILURE(Begin());
    MakeSource();
  }
  void MakeSource() {
    const auto created = controller_->Create("source");
    ASSERT_TRUE(created.ok()) << created.message();
    source_ = created.reply.volume().volume_id();
    Fill(root() / "source");
    whole_ = FactsOf(root() / "source");
  }
  fs::path root() const { return server_->root(); }
  fs::path DataOf(const std::string& snapshot_id) const {
    const std::string id = HandleOf(snapshot_id);
    return root() / ".gantry/snapshots/data" / id.substr(id.find(':') + 1);
  }

  // As a sidecar does it: what may pass is asked again.
  template <class Ask>
  static auto InTheEnd(const Ask& ask) {
    auto outcome = ask();
    WaitFor(
        [&] {
          if (outcome.code() != grpc::StatusCode::ABORTED &&
              outcome.code() != grpc::StatusCode::UNAVAILABLE &&
              outcome.code() != grpc::StatusCode::DEADLINE_EXCEEDED) {
            return true;
          }
          outcome = ask();
          return false;
        },
        kCopyMsMax);
    return outcome;
  }
  Controller::Created Clone(const std::string& name) {
    return InTheEnd(
        [&] { return controller_->Create(CreateFromRequest(name, From::kVolume, source_)); });
  }
  Controller::Snapped Snap(const std::string& name) {
    return InTheEnd([&] { return controller_->Snapshot(name, source_); });
  }
  // What is neither the source's nor the share's own.
  void ExpectNothingLeftButTheSource() {
    ExpectExactly(root(), {{"source", HandleOf(source_)}});
    for (const char* part : {"attempts", "trash", "copies", "snapshots/records", "snapshots/claims",
                             "snapshots/data"}) {
      const auto directory = root() / ".gantry" / part;
      EXPECT_TRUE(WaitFor([&] { return NamesIn(directory).empty(); }, kCopyMsMax))
          << directory << ": " << testing::PrintToString(TreeOf(directory));
    }
  }

  std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();
  std::string source_;
  std::map<std::string, std::string> whole_;
};

TEST_F(NfsCopy, ASnapshotACloneAndARestoreHaveAllThatTheVolumeHad) {
  ASSERT_NO_FATAL_FAILURE(BeginWithSource());
  const auto snapped = controller_->Snapshot("snap", source_);  // Small: answered at once.
  ASSERT_TRUE(snapped.ok()) << snapped.message();
  const auto& snapshot = snapped.reply.snapshot();
  EXPECT_TRUE(snapshot.ready_to_use());
  EXPECT_EQ(snapshot.source_volume_id(), source_);
  EXPECT_EQ(snapshot.size_bytes(), kVolumeBytes);
  EXPECT_EQ(FactsOf(DataOf(snapshot.snapshot_id())), whole_);
  const auto again = controller_->Snapshot("snap", source_);
  ASSERT_TRUE(again.ok()) << again.message();
  EXPECT_EQ(again.reply.snapshot().SerializeAsString(), snapshot.SerializeAsString());

  const auto cloned = controller_->Create(CreateFromRequest("clone", From::kVolume, source_));
  ASSERT_TRUE(cloned.ok()) << cloned.message();
  EXPECT_EQ(cloned.reply.volume().content_source().volume().volume_id(), source_);
  EXPECT_EQ(FactsOf(root() / "clone"), whole_);
  struct stat holes {};
  ASSERT_EQ(stat((root() / "clone/d/holes").c_str(), &holes), 0);
  EXPECT_LT(holes.st_blocks * 512, kHoleBytes / 2);

  // It is a copy: the volume may change, and go.
  Write(root() / "source/small", "HELLO");
  ASSERT_TRUE(controller_->Delete(source_).ok());
  const auto restored =
      controller_->Create(CreateFromRequest("restored", From::kSnapshot, snapshot.snapshot_id()));
  ASSERT_TRUE(restored.ok()) << restored.message();
  EXPECT_EQ(FactsOf(root() / "restored"), whole_);
  ASSERT_TRUE(controller_->DeleteSnapshot(snapshot.snapshot_id()).ok());
  ASSERT_TRUE(controller_->DeleteSnapshot(snapshot.snapshot_id()).ok());
  EXPECT_EQ(controller_->ListSnapshots().reply.entries_size(), 0);
  EXPECT_EQ(FactsOf(root() / "restored"), whole_);
  EXPECT_TRUE(WaitFor([&] { return NamesIn(root() / ".gantry/trash").empty(); }));
}

TEST_F(NfsCopy, WhatCannotBeACopyIsRefusedAndChangesNothing) {
  ASSERT_NO_FATAL_FAILURE(BeginWithSource());
  const auto snapped = Snap("snap");
  ASSERT_TRUE(snapped.ok()) << snapped.message();
  const std::string snapshot = snapped.reply.snapshot().snapshot_id();
  ASSERT_TRUE(Clone("clone").ok());

  const auto create = [&](const std::string& name, From from, const std::string& id) {
    return controller_->Create(CreateFromRequest(name, from, id)).code();
  };
  EXPECT_EQ(create("clone", From::kSnapshot, snapshot), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(controller_->Create("clone").code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(create("source", From::kSnapshot, snapshot), grpc::StatusCode::ALREADY_EXISTS);
  const auto second = controller_->Create("second");
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(controller_->Snapshot("snap", second.reply.volume().volume_id()).code(),
            grpc::StatusCode::ALREADY_EXISTS);
  const std::string gone = source_.substr(0, source_.size() - 4) + "0000";
  EXPECT_EQ(create("none", From::kVolume, gone), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(controller_->Snapshot("none", gone).code(), grpc::StatusCode::NOT_FOUND);
  auto small = CreateFromRequest("small", From::kVolume, source_);
  small.mutable_capacity_range()->set_required_bytes(kVolumeBytes / 2);
  small.mutable_capacity_range()->set_limit_bytes(kVolumeBytes / 2);
  EXPECT_EQ(controller_->Create(small).code(), grpc::StatusCode::OUT_OF_RANGE);
  fs::create_directories(root() / "theirs/data");
  EXPECT_EQ(create("theirs", From::kVolume, source_), grpc::StatusCode::FAILED_PRECONDITION);
  const auto odd = controller_->Snapshot("odd", source_, {{"compress", "yes"}});
  EXPECT_EQ(odd.code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(odd.message().find("compress"), std::string::npos) << odd.message();
  EXPECT_EQ(NamesIn(root()), (Names{".gantry", "source", "clone", "second", "theirs"}));
}

TEST_F(NfsCopy, SnapshotsAreListedInPagesAndByTheirVolume) {
  ASSERT_NO_FATAL_FAILURE(BeginWithSource());
  const auto other = controller_->Create("other");
  ASSERT_TRUE(other.ok());
  Names of_source;
  for (int i = 0; i < 5; ++i) {
    const auto snapped = Snap("snap-" + std::to_string(i));
    ASSERT_TRUE(snapped.ok()) << snapped.message();
    of_source.insert(snapped.reply.snapshot().snapshot_id());
  }
  ASSERT_TRUE(InTheEnd([&] {
                return controller_->Snapshot("other", other.reply.volume().volume_id());
              }).ok());
  EXPECT_EQ(controller_->ListSnapshots().reply.entries_size(), 6);
  std::vector<std::string> seen;
  std::string token;
  do {
    const auto page = controller_->ListSnapshots(source_, 2, token);
    ASSERT_TRUE(page.ok()) << page.message();
    for (const auto& entry : page.reply.entries()) {
      seen.push_back(entry.snapshot().snapshot_id());
    }
    token = page.reply.next_token();
  } while (!token.empty() && seen.size() < 10);
  EXPECT_EQ(seen, std::vector<std::string>(of_source.begin(), of_source.end()));
}

TEST_F(NfsCopy, IsAnsweredAbortedWhileItRunsAndNotFoundOnceItsSourceHasGone) {
  ASSERT_NO_FATAL_FAILURE(BeginWithSource());
  const auto other_host = StartHost(NfsBackend("nfs", kOtherCopyUid, {itest::At(*server_)}));
  ASSERT_TRUE(other_host);
  Controller other(*other_host);
  proxy_->Arm(gate_->Hook());
  for (int i = 0; i < 2; ++i) {
    const auto waits = controller_->Snapshot("snap", source_);
    EXPECT_EQ(waits.code(), grpc::StatusCode::ABORTED) << waits.message();
    EXPECT_NE(waits.message().find("is being copied"), std::string::npos) << waits.message();
    EXPECT_NE(waits.message().find("entries"), std::string::npos) << waits.message();
    EXPECT_LT(waits.took, 10s);
  }
  EXPECT_TRUE(gate_->AwaitOne());
  EXPECT_EQ(controller_->ListSnapshots().reply.entries_size(), 0);
  ASSERT_TRUE(other.Delete(source_).ok());
  gate_->Open();
  const auto failed = Snap("snap");
  EXPECT_EQ(failed.code(), grpc::StatusCode::NOT_FOUND) << failed.message();
  EXPECT_EQ(NamesIn(root()), Names{".gantry"});
  EXPECT_TRUE(WaitFor(
      [&] {
        return NamesIn(root() / ".gantry/trash").empty() &&
               NamesIn(root() / ".gantry/attempts").empty() &&
               NamesIn(root() / ".gantry/snapshots/records").empty();
      },
      kCopyMsMax))
      << testing::PrintToString(TreeOf(root() / ".gantry"));
}

TEST_F(NfsCopy, ThatFindsNoRoomSaysSoAndLeavesNothing) {
  const base::TempDir small;
  ASSERT_EQ(mount("tmpfs", small.path().c_str(), "tmpfs", 0, "size=48m"), 0);
  ASSERT_NO_FATAL_FAILURE(Begin({"vol"}, small.path() / "server"));
  MakeSource();
  Write(root() / "source/big", std::string(15 << 20, 'b'));
  Write(small.path() / "filler", std::string(25 << 20, 'f'));
  const auto failed = InTheEnd([&] { return controller_->Snapshot("snap", source_); });
  EXPECT_EQ(failed.code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << failed.message();
  ExpectNothingLeftButTheSource();
  fs::remove(small.path() / "filler");
  const auto snapped = Snap("snap");
  ASSERT_TRUE(snapped.ok()) << snapped.message();
  EXPECT_EQ(FactsOf(DataOf(snapped.reply.snapshot().snapshot_id())), FactsOf(root() / "source"));
  host_.reset();
  ASSERT_TRUE(server_->Stop());
  EXPECT_EQ(umount2(small.path().c_str(), MNT_DETACH), 0);
}

TEST_F(NfsCopy, IsMadeOnceByTwoControllers) {
  ASSERT_NO_FATAL_FAILURE(BeginWithSource());
  const auto other_host = StartHost(NfsBackend("nfs", kOtherCopyUid, {itest::At(*server_)}));
  ASSERT_TRUE(other_host);
  Controller other(*other_host);
  for (int round = 0; round < 5 && !HasFailure(); ++round) {
    const std::string name = "clone-" + std::to_string(round);
    const auto request = CreateFromRequest(name, From::kVolume, source_);
    Controller::Created theirs;
    std::thread they([&] { theirs = InTheEnd([&] { return other.Create(request); }); });
    const auto ours = InTheEnd([&] { return controller_->Create(request); });
    they.join();
    ASSERT_TRUE(ours.ok()) << ours.message();
    ASSERT_TRUE(theirs.ok()) << theirs.message();
    EXPECT_EQ(ours.reply.volume().volume_id(), theirs.reply.volume().volume_id());
    EXPECT_EQ(FactsOf(root() / name), whole_);
    const std::string id = ours.reply.volume().volume_id();
    ASSERT_TRUE(InTheEnd([&] { return controller_->Delete(id); }).ok());
  }
  ExpectNothingLeftButTheSource();
}

TEST_F(NfsCopy, IsWholeAfterItsWorkerWasKilledAtAnyCall) {
  ASSERT_NO_FATAL_FAILURE(BeginWithSource());
  bool reached = true;
  for (uint64_t step = 1; reached; step += kWorkerStride) {
    SCOPED_TRACE("step " + std::to_string(step));
    ASSERT_LE(step, kCopyStepsMax);
    const std::string name = "clone-" + std::to_string(step);
    const auto trap = std::make_shared<Trap>();
    proxy_->Arm([this, trap, step](const NfsCall& call, Stage at) {
      const Stage when = step % 2 == 0 ? Stage::kRequest : Stage::kReply;
      if (call.number != step || at != when || trap->sprung.exchange(true)) return Verdict::kPass;
      KillWorker();
      return Verdict::kDrop;
    });
    const auto cloned = Clone(name);
    proxy_->Disarm();
    reached = trap->sprung;
    ASSERT_TRUE(cloned.ok()) << cloned.message();
    EXPECT_EQ(FactsOf(root() / name), whole_);
    const std::string id = cloned.reply.volume().volume_id();
    ASSERT_TRUE(InTheEnd([&] { return controller_->Delete(id); }).ok());
    if (HasFailure()) return;
    RestartHost();
  }
  ExpectNothingLeft(*server_, *host_, {root()});
  ExpectNothingLeftButTheSource();
}

TEST_F(NfsCopy, IsWholeAfterGantrydWasKilled) {
  ASSERT_NO_FATAL_FAILURE(BeginWithSource());
  bool reached = true;
  for (uint64_t step = kHostStride; reached; step += kHostStride) {
    SCOPED_TRACE("step " + std::to_string(step));
    ASSERT_LE(step, kCopyStepsMax);
    const std::string name = "snap-" + std::to_string(step);
    const auto trap = std::make_shared<Trap>();
    proxy_->Arm([this, trap, step](const NfsCall& call, Stage at) {
      if (call.number != step || at != Stage::kRequest || trap->sprung.exchange(true)) {
        return Verdict::kPass;
      }
      KillHost();
      trap->over = true;
      return Verdict::kDrop;
    });
    (void)controller_->Snapshot(name, source_);
    proxy_->Disarm();
    reached = trap->sprung;
    if (reached) {
      EXPECT_TRUE(WaitFor([&] { return trap->over.load(); }));
      RestartHost();
    }
    const auto snapped = Snap(name);
    ASSERT_TRUE(snapped.ok()) << snapped.message();
    const std::string id = snapped.reply.snapshot().snapshot_id();
    EXPECT_EQ(FactsOf(DataOf(id)), whole_);
    ASSERT_TRUE(InTheEnd([&] { return controller_->DeleteSnapshot(id); }).ok());
    if (HasFailure()) return;
  }
  ExpectNothingLeft(*server_, *host_, {root()});
  ExpectNothingLeftButTheSource();
}

TEST_F(NfsCopy, ChangesWhatIsMutableAndNothingElse) {
  ASSERT_NO_FATAL_FAILURE(BeginWithSource());
  const auto unknown = controller_->Modify(source_, {{"onDelete", "retain"}, {"iops", "5"}});
  EXPECT_EQ(unknown.code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(unknown.message().find("iops"), std::string::npos) << unknown.message();
  ASSERT_TRUE(controller_->Modify(source_, {{"mountPermissions", "0750"}}).ok());
  struct stat is {};
  ASSERT_EQ(stat((root() / "source").c_str(), &is), 0);
  EXPECT_EQ(is.st_mode & 07777, 0750U);
  EXPECT_TRUE(controller_->Create("source").ok());  // The request that made it.

  auto request = CreateRequest("kept", {{"onDelete", "delete"}});
  (*request.mutable_mutable_parameters())["onDelete"] = "retain";
  const auto kept = controller_->Create(request);
  ASSERT_TRUE(kept.ok()) << kept.message();
  ASSERT_TRUE(controller_->Delete(kept.reply.volume().volume_id()).ok());
  EXPECT_TRUE(fs::exists(root() / "kept"));
  ASSERT_TRUE(controller_->Modify(source_, {{"onDelete", "archive"}}).ok());
  ASSERT_TRUE(controller_->Delete(source_).ok());
  EXPECT_TRUE(fs::exists(root() / "archived-source/small"));
}

}  // namespace
}  // namespace gantry::itest
