import com.sun.management.OperatingSystemMXBean;
import java.io.FileReader;
import java.io.Reader;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.producer.ProducerInterceptor;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.StreamPartitioner;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.Record;

/**
 * For every record of an input topic, records of given sizes on given topics: bytes are copied and nothing else is
 * done. Its one argument is a file of Kafka Streams' settings with these of its own: {@code copy.inputs}, topics with
 * commas between; for each of them {@code copy.<topic>}, what one record becomes, as {@code topic:size} with commas
 * between; {@code copy.warm} and {@code copy.all}, the acknowledged records at which CPU time is read. Prints the CPU
 * seconds of this process between the two, all its threads together, and ends.
 */
public final class Copy {
    private static final CountDownLatch DONE = new CountDownLatch(1);
    private static volatile Throwable failed;

    private Copy() {}

    public static void main(String[] arguments) throws Exception {
        Properties settings = new Properties();
        try (Reader reader = new FileReader(arguments[0])) {
            settings.load(reader);
        }
        settings.put("producer.interceptor.classes", Acknowledged.class.getName());
        KafkaStreams streams = new KafkaStreams(topology(settings), settings);
        streams.setUncaughtExceptionHandler(error -> {
            failed = error;
            DONE.countDown();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.start();
        DONE.await();
        streams.close();
        if (failed != null) {
            failed.printStackTrace();
            System.exit(1);
        }
        System.out.println(Acknowledged.seconds);
    }

    private static Topology topology(Properties settings) {
        String[] inputs = settings.getProperty("copy.inputs").split(",");
        Map<String, List<Cut>> cuts = new HashMap<>();
        for (String input : inputs) {
            List<Cut> own = new ArrayList<>();
            for (String output : settings.getProperty("copy." + input).split(",")) {
                String[] parts = output.split(":");
                own.add(new Cut(parts[0], Integer.parseInt(parts[1])));
            }
            cuts.put(input, own);
        }
        Topology made = new Topology();
        made.addSource("in", new ByteArrayDeserializer(), new ByteArrayDeserializer(), inputs);
        made.addProcessor("copy", () -> new Copier(cuts), "in");
        cuts.values().stream().flatMap(List::stream).map(Cut::topic).distinct().forEach(topic ->
            made.addSink(topic, topic, new ByteArraySerializer(), new ByteArraySerializer(), new Spread(), "copy"));
        return made;
    }

    private record Cut(String topic, int size) {}

    private static final class Copier extends ContextualProcessor<byte[], byte[], byte[], byte[]> {
        private final Map<String, List<Cut>> cuts;

        private Copier(Map<String, List<Cut>> cuts) {
            this.cuts = cuts;
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            for (Cut cut : cuts.get(context().recordMetadata().get().topic())) {
                context().forward(record.withValue(Arrays.copyOf(record.value(), cut.size())), cut.topic());
            }
        }
    }

    /** By a byte of what is random in every record, its id: as Lapse does by the slot of a person. */
    private static final class Spread implements StreamPartitioner<byte[], byte[]> {
        private static final int AT = 8;
        private final List<Optional<Set<Integer>>> places = new ArrayList<>();

        @Override
        public Optional<Set<Integer>> partitions(String topic, byte[] key, byte[] value, int count) {
            while (places.size() < count) {
                places.add(Optional.of(Set.of(places.size())));
            }
            return places.get((value[AT] & 0xff) % count);
        }
    }

    /** Reads CPU time when the broker has taken what was processed. */
    public static final class Acknowledged implements ProducerInterceptor<byte[], byte[]> {
        private static final OperatingSystemMXBean SYSTEM =
            (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        private static volatile double seconds;
        private long warm;
        private long all;
        private long count;

        @Override
        public void configure(Map<String, ?> settings) {
            warm = Long.parseLong((String) settings.get("copy.warm"));
            all = Long.parseLong((String) settings.get("copy.all"));
        }

        @Override
        public ProducerRecord<byte[], byte[]> onSend(ProducerRecord<byte[], byte[]> record) {
            return record;
        }

        @Override
        public void onAcknowledgement(RecordMetadata metadata, Exception error) {
            if (error != null) {
                return;
            }
            count++;
            if (count == warm) {
                seconds = -SYSTEM.getProcessCpuTime() / 1e9;
            } else if (count == all) {
                seconds += SYSTEM.getProcessCpuTime() / 1e9;
                DONE.countDown();
            }
        }

        @Override
        public void close() {}
    }
}
