// SPDX-License-Identifier: Apache-2.0
// A data-path process without gantry-worker's sandbox and its pinned store: what these tests are
// about lies behind both.
#include <dlfcn.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <string_view>

#include "host/datapath/data_path.hpp"

int main(int argc, char** argv) {
  using namespace gantry;
  constexpr std::string_view kDeadline = "--open-deadline-ns=";
  int64_t deadline_ns = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument(argv[i]);
    if (argument.starts_with(kDeadline))
      std::from_chars(argument.data() + kDeadline.size(), argument.data() + argument.size(),
                      deadline_ns);
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
  const auto ended =
      datapath::RunDataPath(*plugin, *description, base::FromNanoseconds(deadline_ns));
  _exit(ended ? 0 : 1);
}
