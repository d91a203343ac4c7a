// SPDX-License-Identifier: Apache-2.0
// What users wait for: a clone of a volume of small files, against `cp -a` from one mounted volume to
// another (the volumes' own userspace mounts, as a pod would do it), and the answer to DeleteVolume of
// a large tree, against that of an empty volume.
//
// GANTRY_BENCH_CLONE_FILES, GANTRY_BENCH_DELETE_FILES: other numbers of files.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "tests/bench/rounds.hpp"
#include "tests/integration/nfs_node.hpp"

namespace gantry::bench {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using tests::NfsNode;
using tests::Volume;

constexpr int kCloneRounds = 3;
constexpr int kDeleteRounds = 7;
constexpr size_t kFilesPerDirectory = 100;
constexpr size_t kFileBytes = 4'000;
constexpr std::chrono::minutes kCloneMax{5};
constexpr double kDeleteMsGoal = 10;

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

void Need(const grpc::Status& status, const std::string& what) {
  if (!status.ok()) Die(what + ": " + tests::Text(status));
}

size_t Number(const char* variable, size_t otherwise) {
  const char* text = std::getenv(variable);
  return text != nullptr ? std::strtoul(text, nullptr, 10) : otherwise;
}

// Behind the server's back, which has not looked there yet.
void MakeTree(const fs::path& top, size_t files, size_t bytes) {
  const std::string content(bytes, 'c');
  for (size_t i = 0; i < files; ++i) {
    const fs::path in = top / ("d" + std::to_string(i / kFilesPerDirectory));
    if (i % kFilesPerDirectory == 0) fs::create_directories(in);
    std::ofstream(in / ("f" + std::to_string(i))) << content;
  }
}

size_t FilesIn(const fs::path& top) {
  size_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(top))
    if (entry.is_regular_file() && entry.file_size() == kFileBytes) ++files;
  return files;
}

double SecondsOf(const std::function<void()>& work) {
  const auto begin = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// As a provisioner does, which asks again while the answer is ABORTED; a call waits for the copy for
// a while itself.
void Clone(NfsNode& node, Volume& volume) {
  grpc::Status status;
  const bool answered = tests::Soon(
      [&] {
        status = node.Create(volume);
        return status.error_code() != grpc::StatusCode::ABORTED;
      },
      kCloneMax);
  if (!answered || !status.ok()) Die("CreateVolume of a clone: " + tests::Text(status));
}

void CompareClones(NfsNode& node) {
  const size_t files = Number("GANTRY_BENCH_CLONE_FILES", 10'000);
  const Volume source = node.Run("source");
  MakeTree(source.backing, files, kFileBytes);
  std::vector<double> ours;
  std::vector<double> theirs;
  std::vector<double> ratio;
  for (int round = 0; round < kCloneRounds; ++round) {
    Volume clone = node.Plan("clone" + std::to_string(round));
    clone.clone_of = source.id;
    ours.push_back(static_cast<double>(files) / SecondsOf([&] { Clone(node, clone); }));
    if (FilesIn(clone.backing) != files) Die("a clone is not complete");
    Need(node.Delete(clone), "DeleteVolume");

    const Volume copy = node.Run("copy" + std::to_string(round));
    const std::string command =
        "cp -a " + (source.target / ".").string() + " " + copy.target.string();
    theirs.push_back(static_cast<double>(files) / SecondsOf([&] {
                       if (std::system(command.c_str()) != 0) Die(command + " failed");
                     }));
    if (FilesIn(copy.backing) != files) Die("cp -a is not complete");
    Need(node.End(copy), "the copy's end");
    ratio.push_back(ours.back() / theirs.back());
  }
  std::printf("clone of %zu files, files a second:      %s\n", files, Spread(ours).c_str());
  std::printf("cp -a between two mounts, the same tree: %s\n", Spread(theirs).c_str());
  std::printf("ratio median %.2f (least %.2f, most %.2f)\n", Percentile(ratio, 0.5),
              Percentile(ratio, 0), Percentile(ratio, 1));
  Need(node.End(source), "the source's end");
}

std::vector<double> DeleteMs(NfsNode& node, const std::string& name, size_t files, int rounds) {
  std::vector<double> took;
  for (int round = 0; round < rounds; ++round) {
    Volume volume = node.Plan(name + std::to_string(round));
    Need(node.Create(volume), "CreateVolume");
    MakeTree(volume.backing, files, 0);
    took.push_back(1'000 * SecondsOf([&] { Need(node.Delete(volume), "DeleteVolume"); }));
  }
  return took;
}

int Main() {
  NfsNode node;
  CompareClones(node);
  const size_t files = Number("GANTRY_BENCH_DELETE_FILES", 100'000);
  const auto empty = DeleteMs(node, "empty", 0, kDeleteRounds);
  const auto large = DeleteMs(node, "large", files, 3);
  std::printf("DeleteVolume of an empty volume, ms:      %s\n", Spread(empty).c_str());
  std::printf("DeleteVolume of %zu files, ms:        %s\n", files, Spread(large).c_str());
  Goal("DeleteVolume of a large tree answers", Percentile(large, 0.5), "<=", kDeleteMsGoal, "ms");
  return 0;
}

}  // namespace
}  // namespace gantry::bench

int main() { return gantry::bench::Main(); }
