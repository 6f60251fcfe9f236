# The application: any Rack application goes here.
run ->(_env) { [200, { "Content-Type" => "text/plain" }, ["hello from #{Process.pid}\n"]] }
