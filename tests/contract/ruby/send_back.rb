# Read a todo, change it and send it back. The arguments are the URL of the API and the client's folder.

require "json"
require "uri"

$LOAD_PATH.unshift(File.join(ARGV[1], "lib"))
require "openapi_client"

def assert_equal(actual, expected)
  raise "#{actual.inspect} is not #{expected.inspect}" unless actual == expected
end

url = URI(ARGV[0])
OpenapiClient.configure do |config|
  config.scheme = url.scheme
  config.host = "#{url.host}:#{url.port}"
  config.api_key["X-User-Id"] = "ruby"
end
api = OpenapiClient::TodosApi.new
draft = OpenapiClient::TodoCreate.new(title: "Buy milk", description: "Two of them", is_completed: true)
id = api.create_todo(draft).id

# The whole todo, with the fields that the server makes.
todo = api.retrieve_todo(id)
todo.title = "Buy oat milk"
replaced = api.replace_todo(id, todo, if_match: todo.etag)
fields = [replaced.title, replaced.description, replaced.is_completed]
assert_equal(fields, ["Buy oat milk", "Two of them", true])
todo.title = "Buy tea"
assert_equal(api.update_todo(id, todo).title, "Buy tea")

# The client's own type of an update.
todo = api.retrieve_todo(id)
update = OpenapiClient::TodoUpdate.build_from_hash(todo.to_hash)
update.title = "Buy coffee"
updated = api.update_todo(id, update, if_match: todo.etag)
assert_equal([updated.title, updated.description, updated.is_completed], ["Buy coffee", "Two of them", true])

# A todo that was serialized and loaded again.
loaded = OpenapiClient::TodoPublic.build_from_hash(JSON.parse(JSON.generate(updated.to_hash)))
assert_equal(loaded.etag, updated.etag)
toggled = api.toggle_todo(id, if_match: loaded.etag)
assert_equal(toggled.is_completed, false)

puts "the todo can be sent back"
