// SPDX-License-Identifier: Apache-2.0
#include "host/worker/load.hpp"

// Boost.DLL 1.74 with std::filesystem forgets these two.
#include <string>
#include <vector>

#define BOOST_DLL_USE_STD_FS
#include <boost/dll/shared_library.hpp>

#include "host/worker/dispatcher.hpp"
#include "host/worker/extensions.hpp"
#include "host/worker/plugin_text.hpp"

namespace gantry::worker {
namespace {

constexpr size_t kNameBytesMax = 32;  // plugin.h, name
constexpr size_t kSchemaBytesMax = 1024 * 1024;
constexpr size_t kManifestTextBytesMax = 256;
constexpr size_t kManifestItemsMax = 64;

tl::unexpected<base::Error> Mismatch(std::string_view field, std::string_view value,
                                     std::string_view expected) {
  return base::Fail(
      base::Code::kFailedPrecondition,
      std::string(field) + " is " + std::string(value) + ", expected " + std::string(expected));
}

std::string Hex(uint32_t value) {
  char text[16];
  std::snprintf(text, sizeof(text), "0x%08x", value);
  return text;
}

base::Status CheckRange(uint32_t value, uint32_t low, uint32_t high, std::string_view field) {
  if (value >= low && value <= high) return {};
  return Mismatch(
      field, std::to_string(value),
      low == high ? std::to_string(low) : std::to_string(low) + " to " + std::to_string(high));
}

base::Status CheckBits(uint32_t value, uint32_t known, std::string_view field) {
  if (value != 0 && (value & ~known) == 0) return {};
  return Mismatch(field, Hex(value), "some of the bits " + Hex(known));
}

base::Status CheckText(gantry_str text, std::string_view field, size_t bytes_max) {
  if (text.ptr == nullptr && text.len > 0)
    return Mismatch(field, "NULL with a length of " + std::to_string(text.len), "a string");
  if (text.len > bytes_max)
    return Mismatch(field, std::to_string(text.len) + " bytes long",
                    "at most " + std::to_string(bytes_max));
  if (!IsCleanText(ToView(text))) return Mismatch(field, "not UTF-8", "UTF-8 without NUL");
  return {};
}

base::Status CheckList(gantry_list list, std::string_view field) {
  if (list.count > kManifestItemsMax || (list.items == nullptr && list.count > 0))
    return Mismatch(field, std::to_string(list.count) + " entries long",
                    "at most " + std::to_string(kManifestItemsMax));
  for (size_t i = 0; i < list.count; ++i)
    GANTRY_TRY(CheckText(list.items[i], std::string(field) + "[" + std::to_string(i) + "]",
                         kManifestTextBytesMax));
  return {};
}

base::Status CheckName(gantry_str name) {
  GANTRY_TRY(CheckText(name, "manifest.name", kNameBytesMax));
  const std::string_view text = ToView(name);
  if (text.empty() ||
      text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") != std::string_view::npos)
    return Mismatch("manifest.name", "\"" + std::string(text) + "\"", "1 to 32 of [a-z0-9-]");
  return {};
}

base::Status CheckManifest(const gantry_manifest& m) {
  GANTRY_TRY(CheckName(m.name));
  GANTRY_TRY(CheckText(m.version, "manifest.version", kManifestTextBytesMax));
  GANTRY_TRY(CheckText(m.csi_min, "manifest.csi_min", kManifestTextBytesMax));
  GANTRY_TRY(CheckText(m.csi_max, "manifest.csi_max", kManifestTextBytesMax));
  if (m.thread_model < GANTRY_THREADS_SERIAL || m.thread_model > GANTRY_THREADS_PARALLEL)
    return Mismatch("manifest.thread_model", std::to_string(m.thread_model), "0 to 2");
  GANTRY_TRY(CheckRange(m.calls_max, 0, kCallsMaxMax, "manifest.calls_max"));
  GANTRY_TRY(CheckRange(m.domain_calls_max, 0, kCallsMaxMax, "manifest.domain_calls_max"));
  GANTRY_TRY(CheckBits(m.access_modes,
                       (GANTRY_ACCESS_MODE_BIT(GANTRY_SINGLE_NODE_MULTI_WRITER) << 1) - 2,
                       "manifest.access_modes"));
  GANTRY_TRY(CheckBits(
      m.access_types,
      GANTRY_ACCESS_TYPE_BIT(GANTRY_ACCESS_MOUNT) | GANTRY_ACCESS_TYPE_BIT(GANTRY_ACCESS_BLOCK),
      "manifest.access_types"));
  GANTRY_TRY(CheckList(m.topology_keys, "manifest.topology_keys"));
  GANTRY_TRY(CheckList(m.needs, "manifest.needs"));
  GANTRY_TRY(CheckText(m.config_schema, "manifest.config_schema", kSchemaBytesMax));
  if (m.record_format_min > m.record_format_max)
    return Mismatch("manifest.record_format_min", std::to_string(m.record_format_min),
                    "at most record_format_max, " + std::to_string(m.record_format_max));
  if (m.context_format_min > m.context_format_max)
    return Mismatch("manifest.context_format_min", std::to_string(m.context_format_min),
                    "at most context_format_max, " + std::to_string(m.context_format_max));
  return {};
}

}  // namespace

base::Result<LoadedPlugin> CheckPlugin(const gantry_plugin* table, const char* why) {
  if (table == nullptr)
    return base::Fail(base::Code::kFailedPrecondition,
                      "the plugin refuses this host (ABI " + std::to_string(GANTRY_ABI_MAJOR) +
                          "." + std::to_string(GANTRY_ABI_MINOR) +
                          "): " + (why != nullptr ? Utf8(why) : "it does not say why"));
  // The magic comes first: without it, the rest is not even known to be a table.
  if (table->magic != GANTRY_MAGIC) return Mismatch("magic", Hex(table->magic), Hex(GANTRY_MAGIC));
  if (table->abi_major != GANTRY_ABI_MAJOR)
    return Mismatch("abi_major", std::to_string(table->abi_major),
                    std::to_string(GANTRY_ABI_MAJOR));
  GANTRY_TRY(CheckRange(table->abi_minor, kAbiMinorMin, GANTRY_ABI_MINOR, "abi_minor"));
  if (table->size < sizeof(gantry_plugin))
    return Mismatch("size", std::to_string(table->size),
                    "at least " + std::to_string(sizeof(gantry_plugin)));
  LoadedPlugin loaded{};
  std::memcpy(&loaded.table, table, sizeof(loaded.table));
  if (table->manifest == nullptr) return Mismatch("manifest", "NULL", "a gantry_manifest");
  if (table->manifest->size < sizeof(gantry_manifest))
    return Mismatch("manifest.size", std::to_string(table->manifest->size),
                    "at least " + std::to_string(sizeof(gantry_manifest)));
  loaded.manifest = CopyStruct(table->manifest);
  if (table->create == nullptr) return Mismatch("create", "NULL", "a function");
  if (table->destroy == nullptr) return Mismatch("destroy", "NULL", "a function");
  if (table->extension == nullptr) return Mismatch("extension", "NULL", "a function");
  GANTRY_TRY(CheckManifest(loaded.manifest));
  gantry_manifest& m = loaded.manifest;
  if (m.calls_max == 0) m.calls_max = kCallsMaxDefault;
  if (m.domain_calls_max == 0) m.domain_calls_max = kDomainCallsMaxDefault;
  return loaded;
}

base::Result<LoadedPlugin> LoadPlugin(const std::filesystem::path& path) {
  gantry_plugin_entry_fn entry = nullptr;
  try {
    // Lazy binding is Boost's default and would let a plugin with undefined symbols in. Never
    // destroyed: the destructor would dlclose.
    auto* library = new boost::dll::shared_library(
        path, boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_local);
    entry = &library->get<const gantry_plugin*(uint32_t, const char**)>(GANTRY_PLUGIN_ENTRY_SYMBOL);
  } catch (const std::exception& e) {
    return base::Fail(base::Code::kFailedPrecondition,
                      "load plugin " + path.string() + ": " + Utf8(e.what()));
  }
  const char* why = nullptr;
  const gantry_plugin* const table = entry(GANTRY_ABI_MINOR, &why);
  auto loaded = CheckPlugin(table, why);
  if (!loaded) return tl::unexpected(base::Wrap(loaded.error(), "plugin " + path.string()));
  return loaded;
}

}  // namespace gantry::worker
