/**
 * Spans of a migration on the console: `node --import ./examples/otel.mjs dist/cli/main.js receive unix:/run/m.sock`.
 * With the exporter and the processor of your choice in place of these two they go wherever yours go.
 */
import { trace } from '@opentelemetry/api';
import { BasicTracerProvider, ConsoleSpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';

const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(new ConsoleSpanExporter())] });
trace.setGlobalTracerProvider(provider);
process.on('beforeExit', () => void provider.forceFlush());
