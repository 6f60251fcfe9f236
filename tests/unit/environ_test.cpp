#include <filesystem>

#include "lib/environ/command.h"
#include "lib/environ/edit.h"
#include "lib/environ/env_file.h"
#include "lib/environ/record.h"
#include "lib/environ/version.h"
#include "lib/environ/wrapper_file.h"
#include "lib/os/error.h"
#include "tests/unit/catch.h"
#include "tests/unit/support.h"

using namespace drover;
using namespace drover::environ;

TEST_CASE("of two variables with one name the first counts") {
  const char* const entries[] = {"A=1", "A=2", "=x=1", "noequals", "B=", nullptr};
  const Block block(entries);
  CHECK(block.value("A") == "1");
  CHECK(block.has("B"));
  CHECK(block.variables().size() == 2);
}

TEST_CASE("lists are compared by whole components") {
  CHECK(is_below("/r/versions/3.1/bin", "/r", "versions/*/bin"));
  CHECK(is_below("/r//versions/3.1/bin/", "/r/", "versions/*/bin"));
  CHECK_FALSE(is_below("/r/versions/a/b/bin", "/r", "versions/*/bin"));
  CHECK_FALSE(is_below("/rx/versions/3.1/bin", "/r", "versions/*/bin"));
  CHECK_FALSE(is_below("/r/versions/../bin", "/r", "versions/*/bin"));
}

TEST_CASE("no manager's variable takes the system's folders out of PATH") {
  Block block;
  Steps steps;
  block.set("PATH", "/usr/bin:/x/bin");
  Edit(block, steps).drop_parts("PATH", [](const std::string&) { return true; });
  CHECK(block.value("PATH") == "/usr/bin");
}

TEST_CASE("versions match by whole components, the highest release first") {
  const std::vector<std::string> installed = {"3.1.2", "3.1.10", "3.10.0", "ruby-3.2.0",
                                              "3.3.0-preview1"};
  CHECK(best_match("3.1", installed) == "3.1.10");
  CHECK(best_match("3.1.1", installed) == std::nullopt);
  CHECK(best_match("3.2.0", installed) == "ruby-3.2.0");
  CHECK(best_match("ruby-3.1.2", installed) == "3.1.2");
  CHECK(best_match("3.3.0", installed) == std::nullopt);
  CHECK(best_match("3.3", installed) == "3.3.0-preview1");
  CHECK(best_match("3", installed) == "3.10.0");
}

TEST_CASE("a version's name is no path, no option and no command") {
  for (const char* text : {"", ".", "..", "../x", "/x", "-r", "a/b", "a b", "$(x)", "*", "a\nb"})
    CHECK_FALSE(is_version_name(text));
  CHECK(is_version_name("jruby-9.4.0.0@app"));
  CHECK_FALSE(is_gemset_name("a:b"));
}

TEST_CASE("what a record says is what changed") {
  Block before;
  before.set("PATH", "/a:/b");
  before.set("OLD", "one two%");
  before.set("GONE", "x");
  Block after = before;
  after.set("PATH", "/new:/a:/b");
  after.set("OLD", "other");
  after.set("NEW", "secret");
  after.unset("GONE");
  std::vector<std::string> lost;
  const std::string record = make_record(before, after, lost);
  CHECK(record.find("secret") == std::string::npos);
  CHECK(lost.empty());
  after.set(kRecordName, record);
  Steps steps;
  Edit edit(after, steps);
  revert_record(edit);
  for (const auto& [name, value] : before.variables())
    CHECK(after.value(name) == value);
  CHECK(after.variables().size() == before.variables().size());
}

TEST_CASE("a record keeps PATH when components were taken away") {
  Block before;
  before.set("PATH", "/a:/b");
  Block after;
  after.set("PATH", "/c");
  std::vector<std::string> lost;
  after.set(kRecordName, make_record(before, after, lost));
  Steps steps;
  Edit edit(after, steps);
  revert_record(edit);
  CHECK(after.value("PATH") == "/a:/b");
}

TEST_CASE("a record never touches a server's protocol") {
  Block block;
  block.set("LISTEN_FDS", "1");
  block.set(kRecordName, "+LISTEN_FDS");
  Steps steps;
  Edit edit(block, steps);
  revert_record(edit);
  CHECK(block.value("LISTEN_FDS") == "1");
}

TEST_CASE("words survive being packed") {
  const std::vector<std::string> words = {"-c", "", "a b", "100%", "é\n"};
  CHECK(unpack_words(pack_words(words)) == words);
  CHECK(unpack_words("").empty());
}

TEST_CASE("an env file is data") {
  const auto variables = parse_env_file(
      "\xEF\xBB\xBF# c\r\nexport A=1 # x\nB='$(id)'\nC=\"a\\n\\$b\"\nD= # nothing\nE=a#b\n", "f");
  REQUIRE(variables.size() == 5);
  CHECK(variables[0] == EnvLine{"A", "1", 2});
  CHECK(variables[1] == EnvLine{"B", "$(id)", 3});
  CHECK(variables[2] == EnvLine{"C", "a\n$b", 4});
  CHECK(variables[3] == EnvLine{"D", "", 5});
  CHECK(variables[4] == EnvLine{"E", "a#b", 6});
  for (const char* text : {"A='x", "A=\"x", "1A=x", "A", "A=1\nA=2", "A='x' y", "A=\"\\q\""})
    CHECK_THROWS_AS(parse_env_file(text, "f"), Error);
}

TEST_CASE("a wrapper's mistakes are named") {
  const auto said = [](const std::string& text) {
    try {
      (void)parse_wrapper(text, "/srv/app/current/bin/unicorn");
      return std::string("nothing");
    } catch (const Error& error) {
      return std::string(error.what());
    }
  };
  CHECK(said("comand = ['x']").find("did you mean 'command'?") != std::string::npos);
  CHECK(said("\n\nruby = 3").find("unicorn:3") != std::string::npos);
  CHECK(said("[@x]").find("it is no TOML") != std::string::npos);
  CHECK(said("a = 7\xC3\xA9").find("unicorn:1") != std::string::npos);
  CHECK(said("#!x\nruby = 'auto'\n#!perl\n").find("does not name ruby") != std::string::npos);
}

TEST_CASE("a wrapper's paths are the application's, by name") {
  const Wrapper wrapper = parse_wrapper("lock = '../shared/a.lock'\nenv_file = 'env'\n#!ruby\nx\n",
                                        "/srv/app/current/bin/unicorn");
  CHECK(wrapper.app == "/srv/app/current");
  CHECK(wrapper.lock == "/srv/app/shared/a.lock");
  CHECK(wrapper.env_files == std::vector<std::string>{"/srv/app/current/env"});
  CHECK(wrapper.ruby_follows);
}

TEST_CASE("a wrapper is known by the link that leads to its release, where that has it") {
  const test::Folder folder;
  const std::string body = "current = '" + (folder / "current") + "'";
  std::filesystem::create_directories(folder / "releases/1/bin");
  std::filesystem::create_symlink("releases/1", folder / "current");
  const std::string path = folder / "releases/1/bin/x";
  CHECK(parse_wrapper(body, path).path == path);
  test::write_file(path, "");
  CHECK(parse_wrapper(body, path).path == folder / "current/bin/x");
  CHECK(parse_wrapper("current = '../../current'", path).app == folder / "current");
}

TEST_CASE("a ruby script is one by its interpreter's name") {
  const test::Folder folder;
  const auto is_ruby = [&](const std::string& line) {
    test::write_file(folder / "s", line + "\n");
    return is_ruby_script(folder / "s");
  };
  CHECK(is_ruby("#!/usr/bin/ruby"));
  CHECK(is_ruby("#!/usr/bin/env ruby3.1"));
  CHECK(is_ruby("#! /usr/bin/env -S ruby -w"));
  CHECK_FALSE(is_ruby("#!/opt/ruby-tools/python3"));
  CHECK_FALSE(is_ruby("#!/bin/sh"));
  CHECK_FALSE(is_ruby("#!/usr/bin/env"));
  CHECK_FALSE(is_ruby("ruby"));
}
