// SPDX-License-Identifier: Apache-2.0
// A data-path process without gantry-worker's sandbox and its pinned store: what these tests are
// about lies behind both.
#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "host/datapath/data_path.hpp"

int main(int argc, char** argv) {
  using namespace gantry;
  // Behind its name stands --datapath.
  const auto serving = datapath::ParseServing({argv + std::min(argc, 2), argv + argc});
  if (!serving) {
    std::fprintf(stderr, "%s\n", serving.error().message.c_str());
    return 2;
  }
  const auto description = wire::ReadDescription(datapath::kDescriptionFd);
  if (!description) {
    std::fprintf(stderr, "%s\n", description.error().message.c_str());
    return 2;
  }
  void* library = dlopen(description->plugin.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    return 2;
  }
  const auto entry =
      reinterpret_cast<gantry_plugin_entry_fn>(dlsym(library, GANTRY_PLUGIN_ENTRY_SYMBOL));
  const char* why = nullptr;
  const gantry_plugin* plugin = entry(GANTRY_ABI_MINOR, &why);
  const auto ended = datapath::RunDataPath(*plugin, *description, *serving);
  _exit(ended.value_or(1));
}
