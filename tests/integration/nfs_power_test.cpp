// SPDX-License-Identifier: Apache-2.0
// The server of a volume in use loses its power: what it had in memory is gone, its disk is as it was in
// that moment, and it starts anew. The disk is an ext4 of the test's own, and its memory goes by the
// filesystem's own shutdown (EXT4_IOC_SHUTDOWN without the journal, as xfstests' godown), the server's by
// SIGKILL while it stands still. Names are written out at once (dirsync), because Ganesha leaves that to
// its disk. A copy of an image was rejected: it is of no one moment.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/types.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <fstream>
#include <map>
#include <random>

#include "host/base/fd.hpp"
#include "host/base/temp_dir.hpp"
#include "tests/integration/loop_device.hpp"
#include "tests/integration/nfs_node.hpp"
#include "tests/integration/survival.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

constexpr off_t kDiskBytes = off_t{1} << 30;
constexpr seconds kMkfsMax{60};
constexpr seconds kUnmountMax{10};
constexpr seconds kProgressMax{30};
constexpr uint64_t kRoundsBetween = 60;  // of each writer, from one power cut to the next
constexpr size_t kBlockBytes = 128 << 10;
constexpr uint64_t kBlocks = 48;
constexpr uint64_t kFilesMax = 200;
constexpr size_t kSmallFileBytes = 100'000;

// <linux/ext4.h> is no header of the kernel's user interface.
constexpr unsigned long kShutdown = _IOR('X', 125, __u32);
constexpr __u32 kWithoutJournal = 2;

// Where a Ganesha finds its export, on a disk that can be cut off.
class Disk {
 public:
  explicit Disk(const fs::path& directory) : path_(directory / "server/root/vol") {
    const fs::path image = directory / "image";
    const base::UniqueFd file(open(image.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!file || ftruncate(file.get(), kDiskBytes) != 0) throw std::runtime_error("no image");
    loop_ = std::make_unique<LoopDevice>(image);
    const std::string error = RunProgram({"mkfs.ext4", "-q", "-F", loop_->path().string()},
                                         directory / "mkfs.out", kMkfsMax);
    if (!error.empty()) throw std::runtime_error(error);
    fs::create_directories(path_);
    Mount();
  }
  Disk(const Disk&) = delete;
  ~Disk() { umount2(path_.c_str(), MNT_DETACH); }

  void CutOff() const {
    const base::UniqueFd directory(open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    __u32 how = kWithoutJournal;
    ASSERT_EQ(ioctl(directory.get(), kShutdown, &how), 0) << std::strerror(errno);
  }
  // After everybody who had it open is gone.
  void TurnOn() const {
    ASSERT_TRUE(Soon([this] { return umount2(path_.c_str(), 0) == 0; }, kUnmountMax))
        << std::strerror(errno);
    Mount();
  }

 private:
  void Mount() const {
    if (mount(loop_->path().c_str(), path_.c_str(), "ext4", MS_DIRSYNC, nullptr) != 0)
      throw std::runtime_error("mount ext4: " + std::to_string(errno));
  }
  std::unique_ptr<LoopDevice> loop_;
  fs::path path_;
};

// What a block holds, by whose it is and how often it was written.
std::string Pattern(uint64_t which, uint64_t generation, size_t bytes) {
  std::mt19937_64 random(which << 32 | generation);
  std::string data(bytes, '\0');
  for (size_t at = 0; at + sizeof(uint64_t) <= bytes; at += sizeof(uint64_t)) {
    const uint64_t word = random();
    std::memcpy(data.data() + at, &word, sizeof word);
  }
  return data;
}

// One file, its blocks written over and over and read back.
class BlockWriter final : public Worker {
 public:
  // 0: it is never fsynced.
  BlockWriter(fs::path file, uint64_t rounds_per_fsync)
      : file_(std::move(file)), rounds_per_fsync_(rounds_per_fsync) {
    fd_ = base::UniqueFd(open(file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    Begin();
  }
  ~BlockWriter() override { Stop(); }
  std::string Content() const {
    std::string content;
    for (uint64_t block = 0; block < kBlocks; ++block)
      if (generations_[block] > 0) {
        content.resize(block * kBlockBytes);
        content += Pattern(block, generations_[block], kBlockBytes);
      }
    return content;
  }

 private:
  std::string Round(uint64_t number) override {
    const uint64_t block = random_() % kBlocks;
    const std::string data = Pattern(block, number + 1, kBlockBytes);
    if (pwrite(fd_.get(), data.data(), data.size(), At(block)) != static_cast<ssize_t>(data.size()))
      return "write: " + std::string(std::strerror(errno));
    generations_[block] = number + 1;
    if (rounds_per_fsync_ > 0 && number % rounds_per_fsync_ == 0 && fsync(fd_.get()) != 0)
      return "fsync: " + std::string(std::strerror(errno));
    // By an open file of its own, which has none of its pages.
    const base::UniqueFd reader(open(file_.c_str(), O_RDONLY | O_CLOEXEC));
    const uint64_t other = random_() % kBlocks;
    if (generations_[other] == 0) return "";
    std::string read(kBlockBytes, '\0');
    if (pread(reader.get(), read.data(), read.size(), At(other)) !=
        static_cast<ssize_t>(read.size()))
      return "read: short, or " + std::string(std::strerror(errno));
    if (read != Pattern(other, generations_[other], kBlockBytes))
      return "block " + std::to_string(other) + " is not what was written last";
    return "";
  }
  static off_t At(uint64_t block) { return static_cast<off_t>(block * kBlockBytes); }

  const fs::path file_;
  const uint64_t rounds_per_fsync_;
  base::UniqueFd fd_;
  std::mt19937_64 random_{20261130};
  std::array<uint64_t, kBlocks> generations_{};
};

// Files that are opened, written and closed; a name's second content replaces the first.
class FileWriter final : public Worker {
 public:
  explicit FileWriter(fs::path directory) : directory_(std::move(directory)) {
    fs::create_directory(directory_);
    Begin();
  }
  ~FileWriter() override { Stop(); }
  const std::map<uint64_t, uint64_t>& generations() const { return generations_; }
  static std::string Content(uint64_t file, uint64_t generation) {
    return Pattern(file, generation, kSmallFileBytes);
  }

 private:
  std::string Round(uint64_t number) override {
    const uint64_t file = number % kFilesMax;
    const fs::path path = directory_ / std::to_string(file);
    const base::UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    const std::string content = Content(file, number + 1);
    if (write(fd.get(), content.data(), content.size()) != static_cast<ssize_t>(content.size()))
      return path.string() + ": " + std::strerror(errno);
    generations_[file] = number + 1;
    const uint64_t other = random_() % generations_.size();
    const auto read = ReadWhole(directory_ / std::to_string(other));
    if (!read || *read != Content(other, generations_[other]))
      return "file " + std::to_string(other) + " is not what was written";
    return "";
  }
  const fs::path directory_;
  std::mt19937_64 random_{20261130};
  std::map<uint64_t, uint64_t> generations_;
};

struct Load {
  explicit Load(const fs::path& root)
      : synced(root / "synced", 8), written(root / "written", 0), closed(root / "closed") {}
  std::string Error() const { return synced.error() + written.error() + closed.error(); }
  bool Advances() {
    for (Worker* worker : std::array<Worker*, 3>{&synced, &written, &closed}) {
      const uint64_t until = worker->rounds() + kRoundsBetween;
      if (!Soon([&] { return worker->rounds() >= until || !Error().empty(); }, kProgressMax))
        return false;
    }
    return Error().empty();
  }
  void Stop() {
    synced.Stop();
    written.Stop();
    closed.Stop();
  }
  // All files, and what they hold.
  std::map<fs::path, std::string> Contents() const {
    std::map<fs::path, std::string> contents = {{"synced", synced.Content()},
                                                {"written", written.Content()}};
    for (const auto& [file, generation] : closed.generations())
      contents[fs::path("closed") / std::to_string(file)] = FileWriter::Content(file, generation);
    return contents;
  }
  BlockWriter synced, written;
  FileWriter closed;
};

class NfsPower : public ::testing::Test {
 protected:
  NfsPower() : disk_(directory_.path()), node_(Options(directory_.path())) {}
  void TearDown() override {
    EXPECT_THAT(node_.Mounted(), ::testing::IsEmpty());
    EXPECT_THAT(node_.DataPathPids(), ::testing::IsEmpty());
  }
  static NfsNodeOptions Options(const fs::path& directory) {
    NfsNodeOptions options;
    options.server.directory = directory / "server";
    return options;
  }
  // `victim`: dies in the same instant.
  void CutPower(pid_t victim = 0) {
    const fs::path control = node_.server().root() / ("control-" + std::to_string(++cuts_));
    std::ofstream(control) << "in memory";
    ASSERT_TRUE(node_.server().Freeze());
    if (victim > 0) {
      ASSERT_EQ(kill(victim, SIGKILL), 0);
    }
    ASSERT_NO_FATAL_FAILURE(disk_.CutOff());
    ASSERT_TRUE(node_.server().Kill());
    ASSERT_NO_FATAL_FAILURE(disk_.TurnOn());
    EXPECT_NE(ReadWhole(control), "in memory") << "the disk has lost nothing";
    ASSERT_TRUE(node_.server().Restart());
  }
  void ExpectNothingIsLost(const std::function<pid_t(const Volume&)>& victim) {
    const Volume volume =
        node_.Run("power", Mode::SINGLE_NODE_WRITER, {{"uncommittedWrites", "true"}});
    std::map<fs::path, std::string> contents;
    {
      Load load(volume.target);
      for (int cut = 0; cut < SurvivalRounds(2, 20); ++cut) {
        ASSERT_TRUE(load.Advances()) << load.Error() << ", before cut " << cut;
        ASSERT_NO_FATAL_FAILURE(CutPower(victim(volume)));
      }
      ASSERT_TRUE(load.Advances()) << load.Error();
      load.Stop();
      ASSERT_EQ(load.Error(), "");
      contents = load.Contents();
    }
    EXPECT_THAT(node_.host().Log(), ::testing::HasSubstr("bytes were written again"));

    // From here on it must be on the disk itself.
    for (const auto& [file, content] : contents) {
      const base::UniqueFd fd(open((volume.target / file).c_str(), O_RDONLY | O_CLOEXEC));
      ASSERT_EQ(fsync(fd.get()), 0) << file << ": " << std::strerror(errno);
    }
    ASSERT_NO_FATAL_FAILURE(CutPower());
    for (const auto& [file, content] : contents)
      EXPECT_TRUE(ReadWhole(volume.backing / file) == content) << file;
    ASSERT_GRPC_OK(node_.End(volume));
  }

  base::TempDir directory_;
  Disk disk_;
  NfsNode node_;
  int cuts_ = 0;
};

TEST_F(NfsPower, ACutOfTheServersPowerLosesNothing) {
  ExpectNothingIsLost([](const Volume&) { return 0; });
}

TEST_F(NfsPower, ACutOfTheServersPowerLosesNothingWhereTheDataPathDiesInTheSameInstant) {
  ExpectNothingIsLost([this](const Volume& volume) { return node_.DataPathOf(volume); });
}

}  // namespace
}  // namespace gantry::tests
