// SPDX-License-Identifier: Apache-2.0
#include "host/keeper/roots.hpp"

#include <filesystem>
#include <utility>

namespace gantry::keeper {

int WorkerRoots::For(const std::string& plugin, base::TimePoint now) {
  const std::filesystem::path folder = std::filesystem::path(plugin).parent_path();
  if (!folder.is_absolute()) return -1;
  if (!roots_.contains(folder) && roots_.size() >= kRootsMax) return -1;
  Root& root = roots_[folder];
  if (root.mounts || root.maker || now < root.again_at) return root.mounts.get();
  root.again_at = now + kRootAgainAfter;
  auto maker = wire::BeginRoot(worker_, folder);
  if (maker) {
    root.maker = std::move(*maker);
    root.give_up_at = now + wire::kPrepareRootMsMax;
  } else {
    print_("no root for data paths: " + maker.error().message);
  }
  return -1;
}

std::vector<std::pair<std::string, int>> WorkerRoots::Making() const {
  std::vector<std::pair<std::string, int>> making;
  for (const auto& [folder, root] : roots_)
    if (root.maker) making.emplace_back(folder, root.maker->said.get());
  return making;
}

base::Child WorkerRoots::OnSaid(const std::string& folder) {
  Root& root = roots_.at(folder);
  auto made = wire::FinishRoot(*root.maker);
  if (made)
    root.mounts = std::move(*made);
  else
    print_("no root for data paths: " + made.error().message);
  base::Child maker = std::move(root.maker->child);
  root.maker.reset();
  return maker;
}

std::optional<base::TimePoint> WorkerRoots::NextAt() const {
  std::optional<base::TimePoint> next;
  for (const auto& [folder, root] : roots_)
    if (root.maker && (!next || root.give_up_at < *next)) next = root.give_up_at;
  return next;
}

std::vector<base::Child> WorkerRoots::GiveUpLate(base::TimePoint now) {
  std::vector<base::Child> late;
  for (auto& [folder, root] : roots_) {
    if (!root.maker || now < root.give_up_at) continue;
    print_("no root for data paths: it is not ready in time");
    late.push_back(std::move(root.maker->child));
    root.maker.reset();
  }
  return late;
}

}  // namespace gantry::keeper
