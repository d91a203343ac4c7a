// SPDX-License-Identifier: Apache-2.0
// Runs every file of the kept corpus through its target, so that what fuzzing has once found stays
// found with every compiler and sanitizer, also where there is no libFuzzer.
//
// usage: fuzz_corpus CORPUS [TARGET]    CORPUS holds a directory a target
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

// By CMakeLists.txt: GANTRY_FUZZ_TARGET(name) for each, whose entry is renamed gantry_fuzz_<name>.
#define GANTRY_FUZZ_TARGET(name) extern "C" int gantry_fuzz_##name(const uint8_t*, size_t);
#include <targets.inc>
#undef GANTRY_FUZZ_TARGET

namespace {

struct Target {
  const char* name;
  int (*run)(const uint8_t* data, size_t size);
};

#define GANTRY_FUZZ_TARGET(name) {#name, gantry_fuzz_##name},
constexpr Target kTargets[] = {
#include <targets.inc>
};
#undef GANTRY_FUZZ_TARGET

// The number of files.
size_t Replay(const Target& target, const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  for (const auto& file : files) {
    std::cout << target.name << " " << file.filename().string() << std::endl;
    std::ifstream in(file, std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
    target.run(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  }
  return files.size();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::cerr << "usage: fuzz_corpus CORPUS [TARGET]\n";
    return 2;
  }
  size_t targets = 0;
  for (const auto& target : kTargets) {
    if (argc == 3 && std::string_view(argv[2]) != target.name) continue;
    // No input at all is an input too.
    target.run(nullptr, 0);
    const size_t files = Replay(target, std::filesystem::path(argv[1]) / target.name);
    if (files == 0) {
      std::cerr << target.name << ": its corpus is empty\n";
      return 1;
    }
    ++targets;
  }
  if (targets == 0) std::cerr << "there is no such target\n";
  return targets == 0 ? 1 : 0;
}
