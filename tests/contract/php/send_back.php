<?php
// Read a todo, change it and send it back. The arguments are the URL of the API and the client's folder.

use OpenAPI\Client\Api\TodosApi;
use OpenAPI\Client\Configuration;
use OpenAPI\Client\Model\TodoCreate;
use OpenAPI\Client\Model\TodoPublic;
use OpenAPI\Client\Model\TodoUpdate;
use OpenAPI\Client\ObjectSerializer;

[, $url, $folder] = $argv;

require 'GuzzleHttp/autoload.php';
spl_autoload_register(function (string $class) use ($folder): void {
    $name = str_replace(['OpenAPI\\Client\\', '\\'], ['', '/'], $class);
    if (is_file("$folder/lib/$name.php")) {
        require "$folder/lib/$name.php";
    }
});

function assertSame(mixed $actual, mixed $expected): void
{
    if ($actual !== $expected) {
        throw new Exception(json_encode($actual) . ' is not ' . json_encode($expected));
    }
}

function fields(TodoPublic $todo): array
{
    return [$todo->getTitle(), $todo->getDescription(), $todo->getIsCompleted()];
}

$config = (new Configuration())->setHost($url)->setApiKey('X-User-Id', 'php');
$api = new TodosApi(null, $config);
$draft = new TodoCreate(['title' => 'Buy milk', 'description' => 'Two of them', 'is_completed' => true]);
$id = $api->createTodo($draft)->getId();

// The whole todo, with the fields that the server makes.
$todo = $api->retrieveTodo($id);
$todo->setTitle('Buy oat milk');
$replaced = $api->replaceTodo($id, $todo, $todo->getEtag());
assertSame(fields($replaced), ['Buy oat milk', 'Two of them', true]);
$todo->setTitle('Buy tea');
assertSame($api->updateTodo($id, $todo)->getTitle(), 'Buy tea');

// The client's own type of an update.
$todo = $api->retrieveTodo($id);
$update = new TodoUpdate((array) ObjectSerializer::sanitizeForSerialization($todo));
$update->setTitle('Buy coffee');
$updated = $api->updateTodo($id, $update, $todo->getEtag());
assertSame(fields($updated), ['Buy coffee', 'Two of them', true]);

// A todo that was serialized and loaded again, with the format that keeps the fraction of a second.
ObjectSerializer::setDateTimeFormat('Y-m-d\TH:i:s.up');
$loaded = ObjectSerializer::deserialize(json_decode((string) $updated), TodoPublic::class);
assertSame((string) $loaded, (string) $updated);
assertSame($loaded->getUpdatedAt() == $updated->getUpdatedAt(), true);
assertSame($api->toggleTodo($id, $loaded->getEtag())->getIsCompleted(), false);

echo "the todo can be sent back\n";
