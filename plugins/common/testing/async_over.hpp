// SPDX-License-Identifier: Apache-2.0
// The asynchronous face of a storage that answers at once, so that what removes trees meets the same
// deaths, lost replies and late operations as the record protocol does. One operation a wait.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <utility>

#include "plugins/common/async_storage.hpp"

namespace gantry::plugin::testing {

class AsyncOver final : public AsyncEntries {
 public:
  explicit AsyncOver(Storage& storage) : storage_(storage) {}

  void Lookup(const NodeId& directory, std::string_view name, Done<Entry> done) override {
    queue_.push_back([this, directory, name = std::string(name), done = std::move(done)] {
      auto found = storage_.Lookup(directory, name);
      if (!found) return done(tl::make_unexpected(std::move(found).error()));
      done(EntryOf(*found));
    });
  }
  void List(const NodeId& directory, const ListPosition&, Done<ListPage> done) override {
    queue_.push_back([this, directory, done = std::move(done)] {
      auto names = storage_.List(directory, kNamesMax);
      if (!names) return done(tl::make_unexpected(std::move(names).error()));
      ListPage page;
      page.end = true;
      for (auto& listed : *names) {
        std::optional<Entry> entry;
        if (listed.node) entry = EntryOf(*listed.node);
        page.entries.push_back({std::move(listed.name), std::move(entry)});
      }
      done(std::move(page));
    });
  }
  void Remove(const NodeId& directory, std::string_view name, Done<void> done) override {
    queue_.push_back([this, directory, name = std::string(name), done = std::move(done)] {
      done(storage_.Remove(directory, name));
    });
  }
  void RemoveDirectory(const NodeId& directory, std::string_view name, Done<void> done) override {
    queue_.push_back([this, directory, name = std::string(name), done = std::move(done)] {
      done(storage_.RemoveDirectory(directory, name));
    });
  }
  void Wait(TimePoint until) override {
    if (queue_.empty()) {
      now_ = std::max(now_, until);
      return;
    }
    const auto operation = std::move(queue_.front());
    queue_.pop_front();
    operation();
  }
  TimePoint Now() const override { return now_; }
  size_t outstanding() const override { return queue_.size(); }
  void Abandon() override { queue_.clear(); }

 private:
  static constexpr size_t kNamesMax = 100'000;

  static Entry EntryOf(const Node& node) {
    Entry entry;
    entry.id = node.id;
    entry.attributes.kind = node.type == NodeType::kDirectory ? EntryKind::kDirectory
                            : node.type == NodeType::kSymlink ? EntryKind::kSymlink
                                                              : EntryKind::kFile;
    entry.attributes.fsid = node.fsid;
    entry.attributes.fileid = node.fileid;
    return entry;
  }

  Storage& storage_;
  std::deque<std::function<void()>> queue_;
  TimePoint now_;
};

}  // namespace gantry::plugin::testing
