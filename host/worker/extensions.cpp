// SPDX-License-Identifier: Apache-2.0
#include "host/worker/extensions.hpp"

#include "host/worker/operations.hpp"

namespace gantry::worker {

Extensions AskExtensions(const gantry_plugin& plugin, gantry_instance* instance) {
  const auto ask = [&]<class T>(const char* id, T& table) {
    table = CopyStruct(static_cast<const T*>(plugin.extension(instance, id)));
  };
  Extensions extensions{};
  ask(GANTRY_EXT_CONTROLLER, extensions.controller);
  ask(GANTRY_EXT_PUBLISH, extensions.publish);
  ask(GANTRY_EXT_SNAPSHOT, extensions.snapshot);
  ask(GANTRY_EXT_GROUP, extensions.group);
  ask(GANTRY_EXT_METADATA, extensions.metadata);
  ask(GANTRY_EXT_NODE, extensions.node);
  ask(GANTRY_EXT_TASK, extensions.task);
  ask(GANTRY_EXT_STATE, extensions.state);
  ask(GANTRY_EXT_DATAPATH, extensions.datapath);
  return extensions;
}

std::vector<std::string> SlotNames(const Extensions& extensions) {
  std::vector<std::string> names;
  const auto add = [&](const char* extension, const char* slot) {
    names.push_back(std::string(extension) + ":" + slot);
  };
  for (const OperationTraits& operation : AllOperations())
    if (operation.offered(extensions)) add(operation.extension, operation.slot);
  if (extensions.controller.domain != nullptr) add(GANTRY_EXT_CONTROLLER, "domain");

  const gantry_datapath& d = extensions.datapath;
#define GANTRY_DATAPATH_SLOT(slot) \
  if (d.slot != nullptr) add(GANTRY_EXT_DATAPATH, #slot);
  GANTRY_DATAPATH_SLOT(open)
  GANTRY_DATAPATH_SLOT(close)
  GANTRY_DATAPATH_SLOT(interrupt)
  GANTRY_DATAPATH_SLOT(lookup)
  GANTRY_DATAPATH_SLOT(getattr)
  GANTRY_DATAPATH_SLOT(setattr)
  GANTRY_DATAPATH_SLOT(readlink)
  GANTRY_DATAPATH_SLOT(create)
  GANTRY_DATAPATH_SLOT(mkdir)
  GANTRY_DATAPATH_SLOT(mknod)
  GANTRY_DATAPATH_SLOT(symlink)
  GANTRY_DATAPATH_SLOT(link)
  GANTRY_DATAPATH_SLOT(unlink)
  GANTRY_DATAPATH_SLOT(rmdir)
  GANTRY_DATAPATH_SLOT(rename)
  GANTRY_DATAPATH_SLOT(read)
  GANTRY_DATAPATH_SLOT(write)
  GANTRY_DATAPATH_SLOT(commit)
  GANTRY_DATAPATH_SLOT(readdir)
  GANTRY_DATAPATH_SLOT(statfs)
#undef GANTRY_DATAPATH_SLOT
  return names;
}

}  // namespace gantry::worker
